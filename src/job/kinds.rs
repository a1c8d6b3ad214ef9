//! Which kinds a worker handles.

use super::id::IdSet;
use super::record::KindId;

/// In place of a kind's number: all kinds that have no handler of their own. No kind has this number.
pub(crate) const OTHER_KINDS: KindId = KindId::MAX;

/// The kinds that a worker handles.
#[derive(Clone, Debug, Default)]
pub(crate) struct Kinds {
    named: IdSet<KindId>,
    /// All others are handled too, except these.
    others_except: Option<IdSet<KindId>>,
}

impl Kinds {
    pub fn contains(&self, kind: KindId) -> bool {
        self.named.contains(&kind) || self.are_others(kind)
    }

    /// Whether this is one of the kinds that are handled although they are not named.
    pub fn is_other(&self, kind: KindId) -> bool {
        !self.named.contains(&kind) && self.are_others(kind)
    }

    fn are_others(&self, kind: KindId) -> bool {
        self.others_except.as_ref().is_some_and(|except| !except.contains(&kind))
    }

    /// The same without these.
    pub fn without<'k>(mut self, kinds: impl Iterator<Item = &'k KindId>) -> Self {
        for kind in kinds {
            self.named.remove(kind);
            if let Some(except) = &mut self.others_except {
                except.insert(*kind);
            }
        }
        self
    }
}

impl FromIterator<KindId> for Kinds {
    fn from_iter<I: IntoIterator<Item = KindId>>(kinds: I) -> Self {
        let mut named: IdSet<KindId> = kinds.into_iter().collect();
        let others_except = named.remove(&OTHER_KINDS).then(IdSet::default);
        Self { named, others_except }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn others_are_all_that_are_not_named_less_those_that_are_left_out() {
        let named: Kinds = [1, 2].into_iter().collect();
        assert_eq!([0, 1, 2, 3].map(|kind| named.contains(kind)), [false, true, true, false]);
        let all: Kinds = [1, OTHER_KINDS].into_iter().collect();
        assert_eq!([0, 1, 2, 3].map(|kind| all.contains(kind)), [true; 4]);
        let without = |kinds: &Kinds| kinds.clone().without([1, 3].iter());
        assert_eq!([0, 1, 2, 3].map(|kind| without(&all).contains(kind)), [true, false, true, false]);
        assert_eq!([0, 1, 2, 3].map(|kind| without(&named).contains(kind)), [false, false, true, false]);
    }
}
