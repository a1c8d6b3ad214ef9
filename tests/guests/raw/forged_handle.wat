;; Enqueues a job that it never made.
(module
  (import "millpond:jobs/enqueue@0.1.0" "enqueue" (func $enqueue (param i32 i32)))
  (memory (export "memory") 1)
  (func (export "millpond:jobs/handler@0.1.0#handle") (param i32 i32) (result i32)
    (call $enqueue (i32.const 12345) (i32.const 64))
    (i32.const 16))
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const 1024)))
