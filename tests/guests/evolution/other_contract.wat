;; Made for 0.2.0, another contract.
(module
  (import "millpond:jobs/log@0.2.0" "log" (func $log (param i32 i32 i32)))
  (memory (export "memory") 1)
  (data (i32.const 64) "newer")
  (func (export "millpond:jobs/handler@0.2.0#handle") (param i32 i32) (result i32)
    (call $log (i32.const 2) (i32.const 64) (i32.const 5))
    (i32.const 16))
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const 1024)))
