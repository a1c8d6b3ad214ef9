//! Modules that no compiler would make, for tests of what the host refuses. It needs nothing but `std`.
//!
//! Each is the no-op guest with one thing added, so it would be an ordinary plugin without that thing: if a limit is taken
//! away, its test goes red because the plugin is accepted, or because compiling it takes the machine down.

/// The sections of a module, as they lie in it: number and content.
struct Module(Vec<(u8, Vec<u8>)>);

const CUSTOM: u8 = 0;
const TYPE: u8 = 1;
const FUNCTION: u8 = 3;
const TABLE: u8 = 4;
const MEMORY: u8 = 5;
const TAG: u8 = 13;
const GLOBAL: u8 = 6;
const CODE: u8 = 10;

const END: u8 = 0x0b;
const NOP: u8 = 0x01;
const DROP: u8 = 0x1a;
const BLOCK: [u8; 2] = [0x02, 0x40];
const LOOP: [u8; 2] = [0x03, 0x40];
const I32: u8 = 0x7f;

impl Module {
    fn read(bytes: &[u8]) -> Self {
        let (header, mut rest) = bytes.split_at(8);
        assert_eq!(header, b"\0asm\x01\0\0\0", "a core module");
        let mut sections = Vec::new();
        while let Some((&number, after)) = rest.split_first() {
            let (size, after) = read_number(after);
            let (content, after) = after.split_at(size);
            sections.push((number, content.to_vec()));
            rest = after;
        }
        Self(sections)
    }

    fn write(&self) -> Vec<u8> {
        let mut bytes = b"\0asm\x01\0\0\0".to_vec();
        for (number, content) in &self.0 {
            bytes.push(*number);
            bytes.extend(number_of(content.len()));
            bytes.extend(content);
        }
        bytes
    }

    /// Adds one entry to a section that is a list, and gives its index in it. The section is made if there is none.
    fn add(&mut self, section: u8, entry: &[u8]) -> usize {
        let at = match self.0.iter().position(|(number, _)| *number == section) {
            Some(at) => at,
            None => {
                let behind = |&(number, _): &(u8, Vec<u8>)| number != CUSTOM && place(number) > place(section);
                let at = self.0.iter().position(behind).unwrap_or(self.0.len());
                self.0.insert(at, (section, vec![0]));
                at
            }
        };
        let (entries, rest) = read_number(&self.0[at].1);
        let mut content = number_of(entries + 1);
        content.extend(rest);
        content.extend(entry);
        self.0[at].1 = content;
        entries
    }

    /// Adds a function without parameters and results; nobody calls it. `locals` are pairs of a number and a type.
    fn function(&mut self, locals: &[(usize, u8)], code: &[u8]) {
        let ty = self.add(TYPE, &[0x60, 0, 0]);
        self.add(FUNCTION, &number_of(ty));
        let mut body = number_of(locals.len());
        for (count, kind) in locals {
            body.extend(number_of(*count));
            body.push(*kind);
        }
        body.extend(code);
        body.push(END);
        let mut entry = number_of(body.len());
        entry.extend(body);
        self.add(CODE, &entry);
    }
}

/// Where a section stands in the order of sections: tags are between memories and globals.
fn place(section: u8) -> u8 {
    match section {
        TAG => 2 * MEMORY + 1,
        other => 2 * other,
    }
}

fn read_number(bytes: &[u8]) -> (usize, &[u8]) {
    let mut number = 0;
    for (at, byte) in bytes.iter().enumerate() {
        number |= usize::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return (number, &bytes[at + 1..]);
        }
    }
    panic!("a number without an end");
}

fn number_of(mut number: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let low = (number & 0x7f) as u8;
        number >>= 7;
        if number == 0 {
            bytes.push(low);
            return bytes;
        }
        bytes.push(low | 0x80);
    }
}

fn with(noop: &[u8], change: impl FnOnce(&mut Module)) -> Vec<u8> {
    let mut module = Module::read(noop);
    change(&mut module);
    module.write()
}

fn added(noop: &[u8], section: u8, entry: &[u8]) -> Vec<u8> {
    with(noop, |module| {
        module.add(section, entry);
    })
}

/// A core module that says of itself which contract it is for, as `noop` does: for modules written as text.
pub fn with_contract(core: &[u8], noop: &[u8]) -> Vec<u8> {
    let is_contract = |(number, content): &&(u8, Vec<u8>)| {
        let (size, name) = read_number(content);
        *number == CUSTOM && name[..size].starts_with(b"component-type")
    };
    let contract: Vec<_> = Module::read(noop).0.iter().filter(is_contract).cloned().collect();
    assert!(!contract.is_empty(), "the no-op guest says which contract it is for");
    with(core, |module| module.0.extend(contract))
}

/// A compile bomb: a function with so many locals.
pub fn locals(noop: &[u8], count: usize) -> Vec<u8> {
    with(noop, |module| module.function(&[(count, I32)], &[]))
}

/// A compile bomb: loops within loops, so deep.
pub fn nested_loops(noop: &[u8], depth: usize) -> Vec<u8> {
    with(noop, |module| module.function(&[], &nested(LOOP, depth)))
}

/// A compile bomb: blocks within blocks, so deep.
pub fn nested_blocks(noop: &[u8], depth: usize) -> Vec<u8> {
    with(noop, |module| module.function(&[], &nested(BLOCK, depth)))
}

fn nested(open: [u8; 2], depth: usize) -> Vec<u8> {
    let mut code = open.repeat(depth);
    code.resize(code.len() + depth, END);
    code
}

/// A compile bomb: a function whose code has so many bytes.
pub fn long_body(noop: &[u8], bytes: usize) -> Vec<u8> {
    with(noop, |module| module.function(&[], &vec![NOP; bytes]))
}

/// A compile bomb: so many functions more.
pub fn functions(noop: &[u8], count: usize) -> Vec<u8> {
    with(noop, |module| {
        let ty = module.add(TYPE, &[0x60, 0, 0]);
        let grow = |module: &mut Module, section: u8, entry: Vec<u8>| {
            let (_, content) = module.0.iter_mut().find(|(number, _)| *number == section).expect("a guest with code");
            let (entries, rest) = read_number(content);
            let mut all = number_of(entries + count);
            all.extend(rest);
            all.extend(entry.repeat(count));
            *content = all;
        };
        grow(module, FUNCTION, number_of(ty));
        grow(module, CODE, vec![2, 0, END]);
    })
}

/// A module of so many bytes, most of them in a section that nobody reads.
pub fn padded(noop: &[u8], bytes: usize) -> Vec<u8> {
    with(noop, |module| {
        let mut content = vec![3];
        content.extend(b"pad");
        content.resize(bytes.saturating_sub(noop.len()).max(4), 0);
        module.0.push((CUSTOM, content));
    })
}

/// Each with a feature of WebAssembly that the host does not offer, and that feature's name.
pub fn drifted(noop: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let code = |code: &'static [u8]| with(noop, |module| module.function(&[], code));
    vec![
        // atomic.fence
        ("threads", code(&[0xfe, 0x03, 0x00])),
        // A second memory that other threads could share: limits with the flag for it.
        ("threads", added(noop, MEMORY, &[0x03, 0x01, 0x01])),
        // A table with 64-bit indices.
        ("memory64", added(noop, TABLE, &[0x70, 0x04, 0x00])),
        // i32.const 0, ref.i31, drop
        ("gc", code(&[0x41, 0x00, 0xfb, 0x1c, DROP])),
        // A tag, which is what an exception is thrown with.
        (
            "exceptions",
            with(noop, |module| {
                let ty = module.add(TYPE, &[0x60, 0, 0]);
                let tag = [vec![0], number_of(ty)].concat();
                module.add(TAG, &tag);
            }),
        ),
        // try_table without a catch
        ("exceptions", code(&[0x1f, 0x40, 0x00, END])),
        // Two zero vectors, i8x16.relaxed_swizzle, drop
        ("relaxed simd", code(&RELAXED)),
        // A function type whose result is a continuation: stack switching.
        (
            "stack switching",
            with(noop, |module| {
                let ty = module.add(TYPE, &[0x60, 0, 0]);
                let continuation = [vec![0x5d], number_of(ty)].concat();
                module.add(TYPE, &continuation);
            }),
        ),
        // i32 + i32 as 128 bits: i64.const 0 four times, i64.add128, two drops
        ("wide arithmetic", code(&[0x42, 0, 0x42, 0, 0x42, 0, 0x42, 0, 0xfc, 0x13, DROP, DROP])),
        // A memory whose pages have one byte.
        ("custom page sizes", added(noop, MEMORY, &[0x08, 0x01, 0x00])),
    ]
}

const RELAXED: [u8; 41] = {
    let mut code = [0; 41];
    (code[0], code[1]) = (0xfd, 0x0c);
    (code[18], code[19]) = (0xfd, 0x0c);
    (code[36], code[37], code[38], code[39], code[40]) = (0xfd, 0x80, 0x02, DROP, NOP);
    code
};

/// The beginnings of files that are no WebAssembly, and what each is: what an operator may hand over by mistake, or somebody
/// on purpose. The last one looks like code compiled ahead, which must never be loaded from outside.
pub fn no_wasm() -> Vec<(&'static str, Vec<u8>)> {
    let elf = [&b"\x7fELF\x02\x01\x01\xc8\0\0\0\0\0\0\0\0"[..], &[0; 240]].concat();
    vec![
        ("nothing", vec![]),
        ("a header cut off", b"\0asm\x01".to_vec()),
        ("text", b"#!/bin/sh\necho hello\n".to_vec()),
        ("an archive", b"PK\x03\x04\x14\0\0\0\x08\0".to_vec()),
        ("a version of the future", b"\0asm\x63\0\0\0".to_vec()),
        ("compiled code", elf),
    ]
}

/// The no-op guest with one global that it starts from, so that its bytes differ: another version of the same plugin.
pub fn another_version(noop: &[u8], number: u8) -> Vec<u8> {
    added(noop, GLOBAL, &[I32, 0x00, 0x41, number & 0x3f, END])
}
