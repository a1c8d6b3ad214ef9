;; Logs bytes that are no UTF-8.
(module
  (import "millpond:jobs/log@0.1.0" "log" (func $log (param i32 i32 i32)))
  (memory (export "memory") 1)
  (data (i32.const 16) "\ff\fe\c0")
  (func (export "millpond:jobs/handler@0.1.0#handle") (param i32 i32) (result i32)
    (call $log (i32.const 2) (i32.const 16) (i32.const 3))
    (i32.const 0))
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const 1024)))
