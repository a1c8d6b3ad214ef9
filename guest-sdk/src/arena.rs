//! The allocator of a sandboxed handler: memory that the module has from its start first, the standard library's allocator
//! when that is used up.
//!
//! A fresh instance per job is cheap as long as it asks the host for no memory: `memory.grow` is a system call and pages to
//! give back. Most jobs fit into the arena. What is freed in it comes back only if it was the last piece handed out, so it
//! is quick and used up at some time; everything behind it is freed as usual, so an instance that runs many jobs, or one
//! big one, leaks nothing but the arena.
//!
//! All `unsafe` of this crate that is not generated is in this file. It rests on one fact: a module for this target has one thread.

#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::{Cell, UnsafeCell};

/// Bytes. Enough for a payload of 64 KiB, read as JSON and answered; pages of it that are not touched cost nothing.
const SIZE: usize = 256 * 1024;

#[cfg_attr(target_arch = "wasm32", global_allocator)]
#[cfg_attr(not(target_arch = "wasm32"), expect(dead_code))]
static ARENA: Arena = Arena::new();

#[repr(align(16))]
struct Arena {
    memory: UnsafeCell<[u8; SIZE]>,
    /// Bytes from the start that are handed out: never above `SIZE`. No piece handed out reaches beyond it.
    used: Cell<usize>,
}

#[cfg(target_feature = "atomics")]
compile_error!("the feature `arena` is for modules with one thread");

// SAFETY: there is one thread (see above), so nothing is ever shared.
unsafe impl Sync for Arena {}

impl Arena {
    const fn new() -> Self {
        Self { memory: UnsafeCell::new([0; SIZE]), used: Cell::new(0) }
    }

    fn start(&self) -> usize {
        self.memory.get() as usize
    }

    fn holds(&self, piece: *mut u8) -> bool {
        (piece as usize).wrapping_sub(self.start()) < SIZE
    }

    /// Where a piece ends, counted from the start.
    fn end(&self, piece: *mut u8, size: usize) -> usize {
        piece as usize - self.start() + size
    }

    fn take(&self, layout: Layout) -> Option<*mut u8> {
        let from = (self.start() + self.used.get()).checked_next_multiple_of(layout.align())? - self.start();
        let to = from.checked_add(layout.size()).filter(|to| *to <= SIZE)?;
        self.used.set(to);
        Some(self.memory.get().cast::<u8>().wrapping_add(from))
    }
}

// SAFETY: a piece lies within `memory` and behind all that is handed out, at the alignment asked for, or it is the
// system allocator's; `holds` tells the two apart, so each is given back where it came from.
unsafe impl GlobalAlloc for Arena {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise about `layout` is handed on.
        self.take(layout).unwrap_or_else(|| unsafe { System.alloc(layout) })
    }

    unsafe fn dealloc(&self, piece: *mut u8, layout: Layout) {
        if !self.holds(piece) {
            // SAFETY: it is the system allocator's, with this layout.
            unsafe { System.dealloc(piece, layout) };
        } else if self.end(piece, layout.size()) == self.used.get() {
            self.used.set(self.used.get() - layout.size());
        }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        let Some(piece) = self.take(layout) else {
            // SAFETY: as in `alloc`.
            return unsafe { System.alloc_zeroed(layout) };
        };
        // SAFETY: the piece has this size and belongs to the caller from now on.
        unsafe { piece.write_bytes(0, layout.size()) };
        piece
    }

    unsafe fn realloc(&self, piece: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if !self.holds(piece) {
            // SAFETY: it is the system allocator's, with this layout.
            return unsafe { System.realloc(piece, layout, size) };
        }
        // The last piece grows and shrinks where it is; any other one shrinks there.
        if self.end(piece, layout.size()) == self.used.get() {
            let end = self.end(piece, size);
            if end <= SIZE {
                self.used.set(end);
                return piece;
            }
        } else if size <= layout.size() {
            return piece;
        }
        // SAFETY: the caller promises that `size` makes a layout with this alignment and is not 0; both pieces hold the bytes that
        // are copied, and they do not overlap, because the old one is still handed out.
        unsafe {
            let moved = self.alloc(Layout::from_size_align_unchecked(size, layout.align()));
            if !moved.is_null() {
                moved.copy_from_nonoverlapping(piece, layout.size().min(size));
                self.dealloc(piece, layout);
            }
            moved
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(size: usize, align: usize) -> Layout {
        Layout::from_size_align(size, align).unwrap()
    }

    /// A piece filled with its number, and what it was asked for with.
    struct Piece(*mut u8, Layout, u8);

    impl Piece {
        fn new(arena: &Arena, size: usize, align: usize, number: u8) -> Self {
            let layout = layout(size, align);
            // SAFETY: the size is not 0 in these tests, and the piece is as long as it is filled.
            let at = unsafe {
                let at = arena.alloc(layout);
                at.write_bytes(number, size);
                at
            };
            assert_eq!(at as usize % align, 0);
            Self(at, layout, number)
        }

        fn is_whole(&self) -> bool {
            // SAFETY: it was filled in `new`, and what grew was filled in `grow`.
            unsafe { std::slice::from_raw_parts(self.0, self.1.size()) }.iter().all(|byte| *byte == self.2)
        }

        fn resize(&mut self, arena: &Arena, size: usize) {
            let before = self.1.size();
            // SAFETY: the piece is of this arena and layout; what is new in it is filled before it is read.
            unsafe {
                self.0 = arena.realloc(self.0, self.1, size);
                self.1 = layout(size, self.1.align());
                assert!(std::slice::from_raw_parts(self.0, before.min(size)).iter().all(|byte| *byte == self.2));
                self.0.write_bytes(self.2, size);
            }
        }

        fn free(self, arena: &Arena) {
            // SAFETY: the piece is of this arena and layout, and gone after this.
            unsafe { arena.dealloc(self.0, self.1) };
        }
    }

    #[test]
    fn pieces_of_any_size_and_alignment_do_not_overlap_in_the_arena_and_beyond_it() {
        let arena = Box::new(Arena::new());
        let mut pieces = Vec::new();
        let mut random = 1u32;
        for number in 0..2_000 {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let (size, align) = ((random >> 8) as usize % 700 + 1, 1 << (random >> 29));
            pieces.push(Piece::new(&arena, size, align, number as u8));
            if random % 3 == 0 {
                let at = (random >> 4) as usize % pieces.len();
                pieces[at].resize(&arena, (random >> 12) as usize % 3_000 + 1);
            }
            if random % 5 == 0 {
                let gone = pieces.swap_remove((random >> 6) as usize % pieces.len());
                assert!(gone.is_whole());
                gone.free(&arena);
            }
        }
        assert!(pieces.iter().all(Piece::is_whole));
        let (inside, outside): (Vec<_>, Vec<_>) = pieces.iter().map(|piece| piece.0).partition(|at| arena.holds(*at));
        assert!(inside.len() > 50 && outside.len() > 50, "{} inside, {} outside", inside.len(), outside.len());
        pieces.into_iter().for_each(|piece| piece.free(&arena));
    }

    #[test]
    fn the_last_piece_grows_in_place_and_comes_back() {
        let arena = Box::new(Arena::new());
        let first = Piece::new(&arena, 100, 8, 1);
        let mut last = Piece::new(&arena, 10, 1, 2);
        let (at, used) = (last.0, arena.used.get());
        last.resize(&arena, 5_000);
        assert_eq!((last.0, arena.used.get()), (at, used + 4_990));
        last.resize(&arena, 4);
        assert_eq!((last.0, arena.used.get()), (at, used - 6));
        last.resize(&arena, SIZE - 100);
        assert_eq!((last.0, arena.used.get()), (at, SIZE));
        last.resize(&arena, SIZE - 99);
        assert!(!arena.holds(last.0));
        assert_eq!(arena.used.get(), 100);
        last.free(&arena);
        assert!(first.is_whole());
    }

    #[test]
    fn a_piece_that_outgrows_the_arena_moves_with_its_bytes_and_gives_its_room_back() {
        let arena = Box::new(Arena::new());
        let mut piece = Piece::new(&arena, SIZE - 10, 1, 7);
        piece.resize(&arena, 2 * SIZE);
        assert!(!arena.holds(piece.0) && piece.is_whole());
        assert_eq!(arena.used.get(), 0);
        piece.free(&arena);
    }

    #[test]
    fn zeroed_memory_is_zero_where_something_was_before() {
        let arena = Box::new(Arena::new());
        Piece::new(&arena, 1_000, 1, 9).free(&arena);
        for size in [1_000, 2 * SIZE] {
            let layout = layout(size, 1);
            // SAFETY: the size is not 0; zeroed memory may be read.
            unsafe {
                let at = arena.alloc_zeroed(layout);
                assert!(std::slice::from_raw_parts(at, size).iter().all(|byte| *byte == 0));
                arena.dealloc(at, layout);
            }
        }
    }

    #[test]
    fn what_cannot_be_had_is_refused() {
        let arena = Box::new(Arena::new());
        assert_eq!(arena.take(layout(isize::MAX as usize - 8, 8)), None);
        assert_eq!(arena.take(layout(SIZE + 1, 1)), None);
        assert!(arena.take(layout(SIZE, 1)).is_some());
        assert_eq!(arena.take(layout(1, 1)), None);
        assert_eq!(arena.used.get(), SIZE);
    }
}
