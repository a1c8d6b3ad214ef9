//! scratch
use anyhow::Result as _R;
use std::io::Write;
use wasmparser::*;

#[derive(Default, Clone, Debug)]
struct F {
    bytes: u64,
    ops: u64,
    params: u64,
    results: u64,
    locals: u64,
    ctrl: u64,
    depth: u64,
    branches: u64,
    height: u64,
    cross: u64,
    flow: u64,
    calls: u64,
    lxb: u64,
    tabletargets: u64,
    blocks: u64,
    loops: u64,
    ifs: u64,
    brif: u64,
    arity: u64,
    bb: u64,
    quad: u64,
    varbb: u64,
}
impl F {
    fn max(&mut self, o: &F) {
        macro_rules! m{($($f:ident)*)=>{$(self.$f=self.$f.max(o.$f);)*}}
        m! {bytes ops params results locals ctrl depth branches height cross flow calls lxb tabletargets blocks loops ifs brif arity bb quad varbb}
    }
    fn sum(&mut self, o: &F) {
        macro_rules! m{($($f:ident)*)=>{$(self.$f+=o.$f;)*}}
        m! {bytes ops params results locals ctrl depth branches height cross flow calls lxb tabletargets blocks loops ifs brif arity bb quad varbb}
    }
}

fn stats(bytes: &[u8], quiet: bool) -> anyhow::Result<()> {
    let mut v = Validator::new_with_features(WasmFeatures::all());
    let mut counts: std::collections::BTreeMap<String, u64> = Default::default();
    let mut max = F::default();
    let mut sum = F::default();
    let mut n = 0u64;
    let mut top: Vec<F> = vec![];
    let mut allocs = FuncValidatorAllocations::default();
    for p in Parser::new(0).parse_all(bytes) {
        let p = p?;
        let mut c = |s: &str, k: u64| {
            *counts.entry(s.into()).or_default() += k;
            let m = counts.entry(format!("{s} max")).or_default();
            *m = (*m).max(k);
        };
        match &p {
            Payload::TypeSection(r) => {
                c("core types", r.count() as u64);
                for g in r.clone() {
                    for t in g?.types() {
                        if let CompositeInnerType::Func(f) = &t.composite_type.inner {
                            c("type params", f.params().len() as u64);
                            c("type results", f.results().len() as u64);
                        }
                    }
                }
            }
            Payload::ImportSection(r) => c("core imports", r.count() as u64),
            Payload::FunctionSection(r) => c("functions", r.count() as u64),
            Payload::TableSection(r) => c("tables", r.count() as u64),
            Payload::MemorySection(r) => c("memories", r.count() as u64),
            Payload::GlobalSection(r) => c("globals", r.count() as u64),
            Payload::ExportSection(r) => c("core exports", r.count() as u64),
            Payload::ElementSection(r) => {
                c("elem segs", r.count() as u64);
                for e in r.clone() {
                    match e?.items {
                        ElementItems::Functions(f) => c("elems", f.count() as u64),
                        ElementItems::Expressions(_, f) => c("elems", f.count() as u64),
                    }
                }
            }
            Payload::DataSection(r) => c("data segs", r.count() as u64),
            Payload::ModuleSection { .. } => c("modules", 1),
            Payload::InstanceSection(r) => {
                for i in r.clone() {
                    match i? {
                        Instance::Instantiate { args, .. } => {
                            c("core instantiate", 1);
                            c("core inst args", args.len() as u64)
                        }
                        Instance::FromExports(e) => c("core inst from exports", e.len() as u64),
                    }
                }
            }
            Payload::CoreTypeSection(r) => c("comp core types", r.count() as u64),
            Payload::ComponentSection { .. } => c("components", 1),
            Payload::ComponentInstanceSection(r) => {
                for i in r.clone() {
                    match i? {
                        ComponentInstance::Instantiate { args, .. } => {
                            c("comp instantiate", 1);
                            c("comp args", args.len() as u64)
                        }
                        ComponentInstance::FromExports(e) => c("comp inst from exports", e.len() as u64),
                    }
                }
            }
            Payload::ComponentAliasSection(r) => c("aliases", r.count() as u64),
            Payload::ComponentTypeSection(r) => {
                c("comp types", r.count() as u64);
                for t in r.clone() {
                    match t? {
                        ComponentType::Instance(d) => c("inst type decls", d.len() as u64),
                        ComponentType::Component(d) => c("comp type decls", d.len() as u64),
                        _ => {}
                    }
                }
            }
            Payload::ComponentCanonicalSection(r) => c("canons", r.count() as u64),
            Payload::ComponentImportSection(r) => c("comp imports", r.count() as u64),
            Payload::ComponentExportSection(r) => c("comp exports", r.count() as u64),
            Payload::CustomSection(r) => {
                c("custom", 1);
                c("custom bytes", r.data().len() as u64);
                if r.name().starts_with("component-type") {
                    c("component-type bytes", r.data().len() as u64)
                }
            }
            _ => {}
        }
        if let ValidPayload::Func(f, body) = v.payload(&p)? {
            n += 1;
            let mut f = f.into_validator(std::mem::take(&mut allocs));
            let mut s = F { bytes: body.as_bytes().len() as u64, ..Default::default() };
            if let Some(ti) = f.resources().type_index_of_function(f.index()) {
                let t = f.resources().sub_type_at(ti).unwrap();
                if let Some((a, b)) = f.sub_type_arity(t) {
                    s.params = a as u64;
                    s.results = b as u64;
                }
            }
            let mut r = body.get_binary_reader();
            f.read_locals(&mut r)?;
            s.locals = f.len_locals() as u64;
            let mut or = OperatorsReader::new(r);
            while !or.eof() {
                let (op, pos) = or.read_with_offset()?;
                let mut cross = false;
                let (i, o) = op.operator_arity(&f).unwrap_or((0, 0));
                s.ops += 1;
                s.flow += (i + o) as u64;
                let before = f.operand_stack_height() as u64;
                match &op {
                    Operator::Block { blockty } | Operator::Loop { blockty } | Operator::If { blockty } => {
                        let (a, b) = f.block_type_arity(*blockty).unwrap();
                        s.arity += (a + b) as u64;
                    }
                    _ => {}
                }
                match &op {
                    Operator::Block { .. } => s.blocks += 1,
                    Operator::Loop { .. } => s.loops += 1,
                    Operator::If { .. } => s.ifs += 1,
                    Operator::BrIf { .. } | Operator::BrTable { .. } => s.brif += 1,
                    _ => {}
                }
                match &op {
                    Operator::Block { .. }
                    | Operator::Loop { .. }
                    | Operator::If { .. }
                    | Operator::Else
                    | Operator::End => {
                        s.ctrl += 1;
                        cross = true
                    }
                    Operator::Br { .. } | Operator::BrIf { .. } => {
                        s.branches += 1;
                        cross = true
                    }
                    Operator::BrTable { targets } => {
                        s.branches += targets.len() as u64 + 1;
                        s.tabletargets += targets.len() as u64;
                        s.flow += (targets.len() as u64) * (i as u64);
                        cross = true
                    }
                    Operator::Call { .. }
                    | Operator::CallIndirect { .. }
                    | Operator::ReturnCall { .. }
                    | Operator::ReturnCallIndirect { .. } => s.calls += 1,
                    _ => {}
                }
                f.op(pos, &op)?;
                let h = f.operand_stack_height() as u64;
                s.height = s.height.max(h);
                s.depth = s.depth.max(f.control_stack_height() as u64);
                if cross {
                    s.cross += before.max(h);
                }
            }
            s.lxb = s.locals * (s.ctrl + s.branches);
            s.bb = s.blocks + 10 * s.loops + 3 * s.ifs + s.brif;
            s.quad = s.bb * s.bb * (16 + 4 * s.locals + s.height) / 16 / 2000;
            s.varbb = (s.arity + s.locals) * s.bb;
            allocs = f.into_allocations();
            max.max(&s);
            sum.sum(&s);
            top.push(s);
        }
    }
    if quiet {
        let w = |f: &F| f.ops + f.flow + f.quad;
        print!(
            "work {}k (max {}k, varbb {}M, height {}, bb {}, fns {}) ",
            top.iter().map(w).sum::<u64>() / 1000,
            top.iter().map(w).max().unwrap_or(0) / 1000,
            max.varbb / 1000000,
            max.height,
            max.bb,
            n
        );
        return Ok(());
    }
    println!("functions {n}\nmax {max:?}\nsum {sum:?}");
    println!("{counts:#?}");
    for (name, key) in [
        ("bytes", (|f: &F| f.bytes) as fn(&F) -> u64),
        ("lxb", |f| f.lxb),
        ("flow", |f| f.flow),
        ("cross", |f| f.cross),
        ("height", |f| f.height),
        ("params", |f| f.params),
        ("quad", |f| f.quad),
        ("varbb", |f| f.varbb),
        ("loops", |f| f.loops),
        ("bb", |f| f.bb),
        ("arity", |f| f.arity),
    ] {
        top.sort_by_key(|f| std::cmp::Reverse(key(f)));
        println!("top by {name}: {:?}", top.iter().take(3).map(|f| key(f)).collect::<Vec<_>>());
        if name == "bytes" || name == "lxb" {
            println!("   {:?}", top[0]);
        }
    }
    Ok(())
}

fn hwm() -> u64 {
    let s = std::fs::read_to_string("/proc/self/status").unwrap();
    s.lines().find(|l| l.starts_with("VmHWM")).unwrap().split_whitespace().nth(1).unwrap().parse::<u64>().unwrap()
        / 1024
}

fn main() -> anyhow::Result<()> {
    let args: Vec<String> = std::env::args().collect();
    let bytes = std::fs::read(&args[2])?;
    let bytes = if args[2].ends_with(".wat") { wat::parse_bytes(&bytes)?.into_owned() } else { bytes };
    if args[1] == "wat" {
        std::fs::write(&args[3], &bytes)?;
        return Ok(());
    }
    match args[1].as_str() {
        "stats" => stats(&bytes, false)?,
        "compile" => {
            stats(&bytes, true)?;
            let t = std::time::Instant::now();
            let component = if Parser::is_component(&bytes) {
                bytes.clone()
            } else {
                wit_component::ComponentEncoder::default()
                    .module(&bytes)?
                    .adapter(
                        "wasi_snapshot_preview1",
                        wasi_preview1_component_adapter_provider::WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER,
                    )?
                    .encode()?
            };
            let enc = t.elapsed();
            let mut config = wasmtime::Config::new();
            config.epoch_interruption(true).memory_init_cow(true).max_wasm_stack(512 << 10).async_stack_size(2 << 20);
            if args.iter().any(|a| a == "none") {
                config.cranelift_opt_level(wasmtime::OptLevel::None);
            }
            if args.iter().any(|a| a == "single") {
                config.cranelift_regalloc_algorithm(wasmtime::RegallocAlgorithm::SinglePass);
            }
            if args.iter().any(|a| a == "noepoch") {
                config.epoch_interruption(false);
            }
            if args.get(3).is_some_and(|a| a == "serial") {
                config.parallel_compilation(false);
            }
            let engine = wasmtime::Engine::new(&config).map_err(|e| anyhow::anyhow!("{e:#}"))?;
            let t = std::time::Instant::now();
            let cpu0 = cpu();
            let c = wasmtime::component::Component::from_binary(&engine, &component);
            let took = t.elapsed();
            println!(
                "{} in {} KB, encode {:.2}s compile {:.2}s cpu {:.2}s rss {} MiB code {} : {}",
                args[2],
                bytes.len() / 1024,
                enc.as_secs_f64(),
                took.as_secs_f64(),
                cpu() - cpu0,
                hwm(),
                c.as_ref().map_or(0, |c| c.serialize().map_or(0, |s| s.len())),
                c.as_ref().err().map_or("ok".into(), |e| format!("{e:#}").chars().take(200).collect::<String>())
            );
            std::io::stdout().flush()?;
        }
        _ => {}
    }
    Ok(())
}
fn cpu() -> f64 {
    let s = std::fs::read_to_string("/proc/self/stat").unwrap();
    let r = s.rsplit(')').next().unwrap();
    let f: Vec<&str> = r.split_whitespace().collect();
    (f[11].parse::<f64>().unwrap() + f[12].parse::<f64>().unwrap()) / 100.0
}
