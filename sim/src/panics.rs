//! `no-panic`: panics inside a run are what the run found, wherever they are caught on their way: they are noted, and not
//! printed. (The first oracle of any fuzzer: Miller et al., CACM 1990.)

use std::cell::{Cell, RefCell};
use std::panic;
use std::sync::Once;

thread_local! {
    static WATCHED: Cell<bool> = const { Cell::new(false) };
    static NOTED: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// Notes the panics of this thread until dropped.
#[derive(Debug)]
pub struct Watch(());

/// Begins to note them.
#[must_use]
pub fn watch() -> Watch {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let usual = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            // Without its thread's storage, a thread is past any run.
            if WATCHED.try_with(Cell::get).unwrap_or(false) {
                NOTED.with_borrow_mut(|noted| noted.push(info.to_string().replace('\n', " ")));
            } else {
                usual(info);
            }
        }));
    });
    WATCHED.set(true);
    NOTED.with_borrow_mut(Vec::clear);
    Watch(())
}

impl Watch {
    /// The first one since the watch began.
    #[must_use]
    pub fn first(&self) -> Option<String> {
        NOTED.with_borrow(|noted| noted.first().cloned())
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        WATCHED.set(false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_noted_with_its_place_even_if_it_is_caught() {
        let watch = watch();
        assert_eq!(watch.first(), None);
        assert!(panic::catch_unwind(|| panic!("offset {}", 7)).is_err());
        let noted = watch.first().unwrap();
        assert!(noted.contains("offset 7") && noted.contains("panics.rs"), "{noted}");
    }
}
