//! Values under names: insert, find and remove cost the same however many there are, and a name that was removed finds
//! nothing, also when its place is taken again.

use alloc::vec::Vec;

/// So many low bits of a key say where its value is; the others count insertions, which wraps after 2^40 of them.
const INDEX_BITS: u32 = 24;

/// Names a value of a [`Table`]. Later ones are greater.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key(pub u64);

impl Key {
    fn index(self) -> usize {
        self.0 as usize & ((1 << INDEX_BITS) - 1)
    }
}

/// At most 2^24 values. Iterates in the order of their places.
#[derive(Debug)]
pub struct Table<T> {
    places: Vec<(Key, Option<T>)>,
    free: Vec<usize>,
    inserted: u64,
}

impl<T> Default for Table<T> {
    fn default() -> Table<T> {
        Table { places: Vec::new(), free: Vec::new(), inserted: 0 }
    }
}

impl<T> Table<T> {
    /// The key that the next insertion gives.
    ///
    /// # Panics
    /// When the table is full.
    #[must_use]
    pub fn next_key(&self) -> Key {
        let index = self.free.last().copied().unwrap_or(self.places.len());
        assert!(index < 1 << INDEX_BITS, "a table of {index} values is full");
        Key(self.inserted << INDEX_BITS | index as u64)
    }

    /// Keeps a value.
    ///
    /// # Panics
    /// When the table is full.
    pub fn insert(&mut self, value: T) -> Key {
        let key = self.next_key();
        self.inserted += 1;
        match self.free.pop() {
            Some(index) => self.places[index] = (key, Some(value)),
            None => self.places.push((key, Some(value))),
        }
        key
    }

    /// A value.
    #[must_use]
    pub fn get(&self, key: Key) -> Option<&T> {
        self.places.get(key.index()).filter(|(k, _)| *k == key).and_then(|(_, value)| value.as_ref())
    }

    /// A value, to be changed.
    pub fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        self.places.get_mut(key.index()).filter(|(k, _)| *k == key).and_then(|(_, value)| value.as_mut())
    }

    /// Takes a value out.
    pub fn remove(&mut self, key: Key) -> Option<T> {
        let (_, value) = self.places.get_mut(key.index()).filter(|(k, _)| *k == key)?;
        let value = value.take()?;
        self.free.push(key.index());
        Some(value)
    }

    /// All values and their keys.
    pub fn iter(&self) -> impl Iterator<Item = (Key, &T)> {
        self.places.iter().filter_map(|(key, value)| value.as_ref().map(|value| (*key, value)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_not_found_under_its_successor() {
        let mut table = Table::default();
        let first = table.insert('a');
        assert_eq!(table.get(first), Some(&'a'));
        assert_eq!(table.get_mut(Key(7)), None);
        assert_eq!((table.remove(first), table.remove(first)), (Some('a'), None));
        let next = table.next_key();
        assert_eq!(table.insert('b'), next);
        assert!(next > first && next.index() == first.index());
        assert_eq!(table.remove(first), None);
        assert_eq!((table.get(first), table.get(next)), (None, Some(&'b')));
        let third = table.insert('c');
        assert_eq!(table.iter().collect::<Vec<_>>(), [(next, &'b'), (third, &'c')]);
    }
}
