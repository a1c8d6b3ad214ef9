;; Calls `new-job.set-label`, which is new in 0.1.9.
(module
  (import "millpond:jobs/log@0.1.9" "log" (func $log (param i32 i32 i32)))
  (import "millpond:jobs/enqueue@0.1.9" "[constructor]new-job" (func $new (param i32 i32 i32 i32) (result i32)))
  (import "millpond:jobs/enqueue@0.1.9" "[method]new-job.set-label" (func $label (param i32 i32 i32)))
  (memory (export "memory") 1)
  (data (i32.const 64) "newer")
  (func (export "millpond:jobs/handler@0.1.9#handle") (param i32 i32) (result i32)
    (call $log (i32.const 2) (i32.const 64) (i32.const 5))
    (call $label (call $new (i32.const 64) (i32.const 5) (i32.const 64) (i32.const 5)) (i32.const 64) (i32.const 5))
    (i32.const 16))
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const 1024)))
