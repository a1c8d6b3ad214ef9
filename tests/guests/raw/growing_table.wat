;; Lets a table grow for ever: memory that no limit on memories counts.
(module
  (memory (export "memory") 1)
  (table $t 1 funcref)
  (func (export "millpond:jobs/handler@0.1.0#handle") (param i32 i32) (result i32)
    (loop (drop (table.grow $t (ref.null func) (i32.const 100000))) (br 0))
    (unreachable))
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const 1024)))
