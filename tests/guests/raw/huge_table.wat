;; Wants a table of ten million functions before it begins.
(module
  (memory (export "memory") 1)
  (table 10000000 funcref)
  (func (export "millpond:jobs/handler@0.1.0#handle") (param i32 i32) (result i32) (i32.const 0))
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const 1024)))
