//! A queue that takes no room until it is first used: there may be very many things at rest that each have some.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use core::ops::{Deref, DerefMut};

/// A [`VecDeque`], made when something is first put in.
#[derive(Clone, Debug)]
#[expect(clippy::box_collection, reason = "a pointer is smaller than an empty queue")]
pub(crate) struct Line<T>(Option<Box<VecDeque<T>>>);

impl<T: 'static> Line<T> {
    const EMPTY: &'static VecDeque<T> = &VecDeque::new();
}

impl<T> Default for Line<T> {
    fn default() -> Line<T> {
        Line(None)
    }
}

impl<T: 'static> Deref for Line<T> {
    type Target = VecDeque<T>;

    fn deref(&self) -> &VecDeque<T> {
        self.0.as_deref().unwrap_or(Line::EMPTY)
    }
}

impl<T: 'static> DerefMut for Line<T> {
    fn deref_mut(&mut self) -> &mut VecDeque<T> {
        self.0.get_or_insert_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_at_rest_is_a_pointer() {
        let mut line = Line::default();
        assert!(line.is_empty() && line.front().is_none() && line.0.is_none());
        line.push_back(7);
        assert_eq!((line.len(), line[0], line.pop_front(), line.len()), (1, 7, Some(7), 0));
        assert_eq!(size_of::<Line<u8>>(), size_of::<usize>());
    }
}
