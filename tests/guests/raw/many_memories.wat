;; Many memories, each below the limit on one: the sum is what counts.
(module
  (memory (export "memory") 1)
  (memory $a 0) (memory $b 0) (memory $c 0) (memory $d 0)
  (func (export "millpond:jobs/handler@0.1.0#handle") (param i32 i32) (result i32)
    (loop
      (drop (memory.grow $a (i32.const 16)))
      (drop (memory.grow $b (i32.const 16)))
      (drop (memory.grow $c (i32.const 16)))
      (drop (memory.grow $d (i32.const 16)))
      (br 0))
    (unreachable))
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const 1024)))
