//! Files that would keep the compiler busy for minutes, or use all memory, are refused before the compiler reads them.
//!
//! Each file was compiled once without this check: the times and sizes are what it took, with 2 processors and the
//! compiler built for tests.

use millpond::PluginError;

use super::built::{register_bytes, too_complex};
use super::guest::{NOTHING, component, module, module_with};

/// A module with a function of this code, beside the handler.
fn function(code: &str) -> Vec<u8> {
    module_with(NOTHING, &format!("(func (param i32) {code})"))
}

fn repeated(code: &str, times: usize) -> Vec<u8> {
    function(&code.repeat(times))
}

/// Asserts that a module is refused, and that a component with this module is refused in the same way.
fn refused(module: Vec<u8>, what: &str, max: u64) {
    let found = too_complex(module.clone());
    assert_eq!((found.0, found.2), (what, max), "{found:?}");
    assert_eq!(too_complex(component(&module)), found);
}

const FUNCTION: &str = "estimated work for a function:";
const SPREAD: &str = "variables times blocks of a function:";

/// 1,000 blocks of 1,000 parameters and results: 14 s and 7.4 GB.
#[test]
fn blocks_and_functions_with_very_many_values_are_refused() {
    let i32s = "i32 ".repeat(1_000);
    let many = format!("(type $t (func (param {i32s}) (result {i32s})))");
    refused(module_with(NOTHING, &many), "parameters of a function or block:", 100);
    let results = format!("(type $t (func (result {i32s})))");
    refused(module_with(NOTHING, &results), "results of a function or block:", 100);
    let most = "i32 ".repeat(100);
    let most = format!("(type $t (func (param {most}) (result {most})))");
    assert_eq!(register_bytes(module_with(NOTHING, &most)), Ok(()));
}

/// 30,000 blocks with one result: 10 s and 3.6 GB. 10,000 with 30 of each: 34 s and 8.4 GB.
#[test]
fn very_many_blocks_with_values_are_refused() {
    refused(repeated("(drop (block (result i32) (br_if 0 (local.get 0) (local.get 0))))", 30_000), SPREAD, 50_000_000);
    let i32s = "i32 ".repeat(30);
    let (values, drops) = ("(i32.const 0)".repeat(30), "drop ".repeat(30));
    let blocks = "(block (type $t)) ".repeat(10_000);
    let ty = format!("(type $t (func (param {i32s}) (result {i32s})))");
    refused(module_with(NOTHING, &format!("{ty} (func {values} {blocks} {drops})")), SPREAD, 50_000_000);
    assert_eq!(register_bytes(repeated("(drop (block (result i32) (local.get 0)))", 5_000)), Ok(()));
}

/// 40,000 values: 70 s.
#[test]
fn very_many_values_at_a_time_are_refused() {
    let values = |number| function(&["(i32.load (local.get 0)) ".repeat(number), "drop ".repeat(number)].concat());
    refused(values(40_000), "values on the stack of a function:", 1_000);
    assert_eq!(register_bytes(values(1_000)), Ok(()));
}

/// 100,000 branches: 38 s. 10,000 loops: 14 s.
#[test]
fn very_many_branches_and_loops_are_refused() {
    refused(repeated("(block (br_if 0 (local.get 0)))", 100_000), FUNCTION, 4_000_000);
    refused(repeated("(if (local.get 0) (then))", 40_000), FUNCTION, 4_000_000);
    refused(repeated("(loop (br_if 0 (local.get 0)))", 10_000), FUNCTION, 4_000_000);
    assert_eq!(register_bytes(repeated("(loop (br_if 0 (local.get 0)))", 500)), Ok(()));
    assert_eq!(register_bytes(repeated("(block (br_if 0 (local.get 0)))", 5_000)), Ok(()));
}

/// Instructions that the compiler turns into branches. 60,000 calls through a table: more than 60 s. Reads of a table:
/// 38 s. 40,000 copies: 40 s.
#[test]
fn very_many_implicit_branches_are_refused() {
    let beside = |code: &str, times: usize| {
        let around = "(type $t (func)) (table 10 funcref) (memory 1)";
        module_with(NOTHING, &format!("{around} (func (param i32) {})", code.repeat(times)))
    };
    let call = "(call_indirect (type $t) (local.get 0))";
    refused(beside(call, 40_000), FUNCTION, 4_000_000);
    assert_eq!(register_bytes(beside(call, 5_000)), Ok(()));
    let look = "(table.set 0 (local.get 0) (table.get 0 (local.get 0)))";
    refused(beside(look, 20_000), FUNCTION, 4_000_000);
    refused(beside("(drop (memory.grow (local.get 0)))", 40_000), FUNCTION, 4_000_000);
    refused(beside("(memory.copy (local.get 0) (local.get 0) (local.get 0))", 40_000), FUNCTION, 4_000_000);
    refused(beside("(table.copy (local.get 0) (local.get 0) (local.get 0))", 10_000), FUNCTION, 4_000_000);
}

/// 20,000 segments: 7 s. 90,000: more than 40 s.
#[test]
fn very_many_segments_that_a_module_copies_at_its_start_are_refused() {
    let memory = "(import \"\" \"m\" (memory 1))";
    let module =
        |segments: usize| format!("(core module $d {memory} {})", "(data (i32.const 0) \"x\")".repeat(segments));
    let segments = "segments of data and tables in a module:";
    assert_eq!(too_complex(text(&module(20_000))), (segments, 20_000, 15_000));
    assert_eq!(register_bytes(text(&module(2_000))), NO_HANDLER);
    let table = format!("(core module (func $f) (table 1 funcref) {})", "(elem (i32.const 0) $f)".repeat(20_000));
    assert_eq!(too_complex(text(&table)), (segments, 20_000, 15_000));
}

/// 15,000 branches that set one of 100 variables: 53 s.
#[test]
fn very_many_branches_across_many_variables_are_refused() {
    let set = |locals: usize, branches: usize| {
        let set =
            (0..branches).map(|n| format!("(if (local.get 0) (then (local.set {} (local.get 0))))", 1 + n % locals));
        let used = (0..locals).map(|n| format!("(drop (local.get {}))", 1 + n));
        let code: String = set.chain(used).collect();
        function(&format!("(local {}) {code}", "i32 ".repeat(locals)))
    };
    refused(set(100, 15_000), FUNCTION, 4_000_000);
    refused(set(900, 4_000), FUNCTION, 4_000_000);
    assert_eq!(register_bytes(set(100, 1_000)), Ok(()));
}

#[test]
fn branch_tables_with_very_many_targets_are_refused() {
    let table = format!("(br_table {} (local.get 0))", "0 ".repeat(500_000));
    let values = "(i32.const 1)".repeat(20);
    let results = format!("(type $t (func (result {})))", "i32 ".repeat(20));
    let code = format!("(func (param i32) (block (type $t) {values} {table}) {})", "drop ".repeat(20));
    refused(module_with(NOTHING, &format!("{results} {code}")), FUNCTION, 4_000_000);
    // 200 tables that pass 8 values to each of 200 blocks: 8 s.
    let table: String = (1..200).map(|n| format!("{n} ")).collect();
    let eight = "(i32.const 1)".repeat(8);
    let one = format!("(block (br_if 0 (local.get 0)) {eight} (br_table {table} (local.get 0)))");
    let (begin, end) = ("(block (type $t) ".repeat(200), " unreachable)".repeat(200));
    let code = format!("(func (param i32) {begin} {} {end} {})", one.repeat(400), "drop ".repeat(8));
    let results = format!("(type $t (func (result {})))", "i32 ".repeat(8));
    refused(module_with(NOTHING, &format!("{results} {code}")), SPREAD, 50_000_000);
}

/// Each of the functions alone is within its limit.
#[test]
fn very_many_functions_that_are_slow_to_compile_are_refused() {
    let one = format!("(func (param i32) {})", "(block (br_if 0 (local.get 0)))".repeat(15_000));
    let (what, _, max) = too_complex(module_with(NOTHING, &one.repeat(100)));
    assert_eq!((what, max), ("estimated work:", 30_000_000));
}

/// 5 million functions in a table: more than 14 GB. 100,000 types: 22 s.
#[test]
fn very_many_items_that_are_not_code_are_refused() {
    let table = format!("(func $f) (elem declare func {})", "$f ".repeat(200_000));
    refused(module_with(NOTHING, &table), "functions in tables:", 100_000);
    let types: String = (0..30_000).map(|n| format!("(type (func (param {})))", kinds(n))).collect();
    refused(module_with(NOTHING, &types), "types:", 20_000);
    let globals = "(global i32 (i32.const 0))".repeat(150_000);
    refused(module_with(NOTHING, &globals), "imports, exports, globals and segments:", 100_000);
}

/// A different signature for each number.
fn kinds(number: usize) -> String {
    (0..16).map(|bit| if number >> bit & 1 == 0 { "i32 " } else { "i64 " }).collect()
}

/// The file was compiled, and is not a plugin.
const NO_HANDLER: Result<(), PluginError> = Err(PluginError::NoHandler { export: "millpond:jobs/handler@0.1.3" });

fn text(component: &str) -> Vec<u8> {
    wat::parse_str(format!("(component {component})")).unwrap()
}

/// Each component instantiates the one inside it twice: 1 KB with 20 of them took 4 s and 382 MB, and each more
/// doubles that.
#[test]
fn components_that_multiply_their_instances_are_refused() {
    let twice = |times: usize| {
        (0..times).fold("(core module $m) (core instance (instantiate $m))".to_owned(), |inner, _| {
            format!("(component $n {inner}) (instance (instantiate $n)) (instance (instantiate $n))")
        })
    };
    assert_eq!(too_complex(text(&twice(15))).0, "instances of components:");
    assert_eq!(too_complex(text(&twice(30))).0, "components within components:");
    // Each component is named once more from inside, and by an export.
    let doubled = (1..15).fold("(component $c0)".to_owned(), |before, n| {
        let inner = n - 1;
        let made =
            format!("(alias outer 1 $c{inner} (component $x)) (instance (instantiate $x)) (instance (instantiate $x))");
        format!("{before} (component $c{n} {made})")
    });
    assert_eq!(too_complex(text(&format!("{doubled} (instance (instantiate $c14))"))).0, "instances of components:");
    let exported = (0..9).fold("(component $c0)".to_owned(), |before, n| {
        let made = "(instance (instantiate $e))".repeat(2);
        let outer = format!(
            "(component $c{} (alias outer 1 $c{n} (component $d)) (export $e \"e\" (component $d)) {made})",
            n + 1
        );
        format!("{before} {outer}")
    });
    assert_eq!(too_complex(text(&format!("{exported} (instance (instantiate $c9))"))).0, "instances of components:");
}

/// 3,000 functions from one component to another, with some lists and strings each: 48 s. 900 with more of them: 33 s.
#[test]
fn very_many_functions_between_components_are_refused() {
    let lift = "(core module $m (func (export \"f\"))) (core instance $i (instantiate $m))".to_owned()
        + &"(func (canon lift (core func $i \"f\")))".repeat(45);
    let times = |times: usize| format!("(component $c {lift}) {}", "(instance (instantiate $c))".repeat(times));
    assert_eq!(too_complex(text(&times(23))), ("functions into components and out of them:", 1_035, 1_000));
    assert_eq!(register_bytes(text(&times(20))), NO_HANDLER);
}

/// Each of them is compiled, and kept, separately.
#[test]
fn very_many_modules_that_are_never_instantiated_are_refused() {
    let modules = |times: usize| "(core module)".repeat(times);
    assert_eq!(too_complex(text(&modules(600))), ("modules and components:", 501, 500));
    let within = format!("(component {})", modules(90)).repeat(10);
    assert_eq!(too_complex(text(&within)), ("modules and components:", 501, 500));
    assert_eq!(register_bytes(text(&modules(400))), NO_HANDLER);
}

/// What is copied into an instance before its code runs cannot be interrupted, and does not count towards its time.
#[test]
fn instances_with_very_large_initial_content_are_refused() {
    let data = format!("(data (i32.const 0) \"{}\")", "x".repeat(1 << 20));
    let memory = r#"(core module $m (memory (export "m") 32)) (core instance $i (instantiate $m))"#;
    let module =
        |megabytes: usize| format!(r#"(core module $d (import "" "m" (memory 1)) {})"#, data.repeat(megabytes));
    let made = |module: &str, times: usize| {
        format!(r#"(core instance (instantiate ${module} (with "" (instance $i))))"#).repeat(times)
    };
    let here = |times: usize| text(&format!("{memory} {} {}", module(1), made("d", times)));
    let (what, _, max) = too_complex(here(70));
    assert_eq!((what, max), ("bytes that instances start with:", 64 << 20));
    assert_eq!(register_bytes(here(60)), NO_HANDLER);
    // By another name, from inside a component that is instantiated several times.
    let inside = format!("(component $c (alias outer 1 $d (core module $a)) {memory} {})", made("a", 7));
    let thrice =
        |megabytes| text(&format!("{} {inside} {}", module(megabytes), "(instance (instantiate $c))".repeat(3)));
    assert_eq!(register_bytes(thrice(1)), NO_HANDLER);
    assert_eq!(too_complex(thrice(4)).0, "bytes that instances start with:");
}

/// The value of a global is computed anew for each instance.
#[test]
fn globals_with_values_that_are_slow_to_compile_are_refused() {
    let sum = |terms: usize| format!("(global i32 {} {})", "(i32.const 1)".repeat(terms), "i32.add ".repeat(terms - 1));
    let global = |terms| module_with(NOTHING, &sum(terms));
    refused(global(400_000), "bytes of constant expressions:", 1 << 20);
    assert_eq!(register_bytes(global(1_000)), Ok(()));
}

#[test]
fn modules_that_are_passed_in_are_refused_because_they_cannot_be_counted() {
    let passed = r#"(component $c (import "d" (core module $d)) (core instance (instantiate $d)))"#;
    assert_eq!(too_complex(text(passed)).0, "instances of modules that are not in it:");
}

#[test]
fn components_that_are_passed_in_are_refused_because_they_cannot_be_counted() {
    let passed = r#"(component $c (import "d" (component $d)) (instance (instantiate $d)))"#;
    assert_eq!(too_complex(text(passed)).0, "instances of components that are not in it:");
}

#[test]
fn very_many_types_and_aliases_of_components_are_refused() {
    assert_eq!(too_complex(text(&"(type u8)".repeat(30_000))).0, "items of components:");
    let wide = format!("(type (tuple {}))", "u8 ".repeat(9_000)).repeat(200);
    assert_eq!(too_complex(text(&wide)).0, "bytes of items of components:");
}

/// A core module describes its interfaces in a section of its own, which is read when a component is made of the
/// module.
#[test]
fn interfaces_nested_without_end_are_refused() {
    let with = |section: &[u8]| {
        let mut bytes = module(NOTHING);
        let name = b"component-type:more";
        let content = [&[name.len() as u8][..], name, section].concat();
        bytes.push(0);
        let mut size = content.len();
        while size > 0x7f {
            bytes.push((size & 0x7f) as u8 | 0x80);
            size >>= 7;
        }
        bytes.push(size as u8);
        bytes.extend(content);
        bytes
    };
    assert_eq!(too_complex(with(&[0; 300 << 10])).0, "bytes about interfaces:");
    assert_eq!(too_complex(with(&text(&"(type u8)".repeat(30_000)))).0, "items of components:");
    let deep = (0..50).fold(String::new(), |inner, _| format!("(component {inner})"));
    assert_eq!(too_complex(with(&text(&deep))).0, "components within components:");
    let nonsense = register_bytes(with(b"nonsense"));
    assert!(matches!(nonsense, Err(PluginError::Invalid { .. })), "{nonsense:?}");
}
