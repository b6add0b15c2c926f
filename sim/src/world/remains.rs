//! What no client sees: folders that stay behind in the data directory.
//!
//! `nothing-left-behind`: a topic whose deletion was acknowledged has no folder, and none is set aside. The folder of a log
//! that is removed gets a name of its own first, as does one that is being made; whatever a crash leaves of either goes
//! with the next start. And no log of these workloads is ever a stray one: who has a folder had a topic first, and whose
//! topic is gone is removed, also by a life that finds that it was not.
//!
//! It is asked where the broker has been up, and at rest, since long before, and before any loss is declared: a bit that
//! flips in `partition.metadata` makes a stray log of any. It reads the disk, and asks no broker.

use crate::atlas::Atlas;
use crate::disk::SimDisk;
use crate::history::History;
use crate::report::Violation;

/// What ends the names of folders that are on their way, or set aside.
const ASIDE: [&str; 3] = ["-new", "-delete", "-stray"];

/// # Errors
/// When something is left behind.
pub(super) fn look(disk: &SimDisk, history: &History) -> Result<(), Violation> {
    let broken =
        |fact: String, contradiction: String| Err(Violation { property: "nothing-left-behind", fact, contradiction });
    let files = disk.list_all();
    let mut folders = files.iter().filter_map(|(path, _)| path.split_once('/')).map(|(folder, _)| folder);
    if let Some(folder) = folders.find(|folder| ASIDE.iter().any(|mark| folder.ends_with(mark))) {
        let fact = "the broker is up, and has had all the time to clear away".to_owned();
        return broken(fact, format!("there is still a folder {folder}"));
    }
    let atlas = Atlas::of(disk);
    let left = atlas.folders().iter().find_map(|folder| Some((folder, history.dead(folder.log.topic)?)));
    match left {
        Some((folder, life)) => broken(
            format!("the deletion of {life} was acknowledged"),
            format!("its folder {} is still there", folder.name),
        ),
        None => Ok(()),
    }
}
