//! A compact set of job ids, which takes little memory when many ids are close together.

use std::collections::BTreeMap;

/// A set of job ids. It takes two bytes for each id, or one bit where many are close together.
#[derive(Debug, Default)]
pub(in crate::storage) struct IdSet(BTreeMap<u64, Chunk>);

/// The lower 16 bits of ids that have their upper bits in common.
#[derive(Debug)]
enum Chunk {
    /// Each one, in order.
    Few(Vec<u16>),
    /// One bit for each possible one.
    Many(Box<[u64; WORDS]>),
}

const WORDS: usize = (1 << 16) / 64;

/// Above this number bits take less space.
const FEW_MAX: usize = WORDS * 8 / 2;

fn split(id: u64) -> (u64, u16) {
    (id >> 16, id as u16)
}

fn bit(low: u16) -> (usize, u64) {
    (usize::from(low) / 64, 1 << (low % 64))
}

impl IdSet {
    /// Returns false if the id was in the set already.
    pub fn insert(&mut self, id: u64) -> bool {
        let (high, low) = split(id);
        let chunk = self.0.entry(high).or_insert_with(|| Chunk::Few(Vec::new()));
        if let Chunk::Few(few) = chunk {
            let Err(at) = few.binary_search(&low) else { return false };
            if few.len() < FEW_MAX {
                few.insert(at, low);
                return true;
            }
            let mut many = Box::new([0; WORDS]);
            for &low in &*few {
                let (word, bit) = bit(low);
                many[word] |= bit;
            }
            *chunk = Chunk::Many(many);
        }
        let Chunk::Many(many) = chunk else { unreachable!("made above") };
        let (word, bit) = bit(low);
        let is_new = many[word] & bit == 0;
        many[word] |= bit;
        is_new
    }

    pub fn contains(&self, id: u64) -> bool {
        let (high, low) = split(id);
        match self.0.get(&high) {
            None => false,
            Some(Chunk::Few(few)) => few.binary_search(&low).is_ok(),
            Some(Chunk::Many(many)) => {
                let (word, bit) = bit(low);
                many[word] & bit != 0
            }
        }
    }

    /// Returns false if the id was not in the set.
    pub fn remove(&mut self, id: u64) -> bool {
        let (high, low) = split(id);
        match self.0.get_mut(&high) {
            None => false,
            Some(Chunk::Few(few)) => few.binary_search(&low).map(|at| few.remove(at)).is_ok(),
            Some(Chunk::Many(many)) => {
                let (word, bit) = bit(low);
                let was_there = many[word] & bit != 0;
                many[word] &= !bit;
                was_there
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn it_is_a_set_whether_numbers_lie_close_together_or_far_apart() {
        let mut rng = fastrand::Rng::with_seed(3);
        let (mut set, mut model) = (IdSet::default(), HashSet::new());
        for round in 0..60_000 {
            let id = match round % 3 {
                0 => rng.u64(0..20_000),
                1 => rng.u64(65_500..65_600),
                _ => rng.u64(..),
            };
            match rng.u8(0..4) {
                0 => assert_eq!(set.remove(id), model.remove(&id), "{id}"),
                1 => assert_eq!(set.contains(id), model.contains(&id), "{id}"),
                _ => assert_eq!(set.insert(id), model.insert(id), "{id}"),
            }
        }
        assert!(set.0.values().any(|chunk| matches!(chunk, Chunk::Many(_))));
        assert!(model.iter().all(|id| set.contains(*id)));
    }
}
