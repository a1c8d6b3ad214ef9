;; Loops when it is asked for room for its payload.
(module
  (memory (export "memory") 1)
  (func (export "millpond:jobs/handler@0.1.0#handle") (param i32 i32) (result i32) (i32.const 0))
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (loop (br 0)) (unreachable)))
