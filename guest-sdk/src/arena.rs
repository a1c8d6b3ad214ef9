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

#[global_allocator]
static ARENA: Arena = Arena { memory: UnsafeCell::new([0; SIZE]), used: Cell::new(0) };

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
