//! Carrying a plan out.

use std::io;

use super::Disk;
use super::plan::{Plan, Step};
use crate::device::Plain;

/// Why a plan was not carried out to its end.
#[derive(Debug, thiserror::Error)]
pub enum Stopped<E> {
    /// Looking said not to go on.
    #[error("{why}")]
    Looked {
        /// What was seen.
        why: E,
        /// Whether anything had been written.
        begun: bool,
    },
    /// A write or a flush failed.
    #[error("cannot carry out step {number} ({step}): {}", Plain(.source))]
    Failed {
        /// The step's number, from 1.
        number: usize,
        /// The step.
        step: String,
        /// Why it failed.
        source: io::Error,
    },
}

/// Carries a plan out, step by step; ends at the first that fails. `look` is asked wherever the
/// plan says to look at the MMP block, and before every write of a change that MMP guards: this
/// program may have been paused since it last looked, and the device may be somebody else's by now.
pub fn carry_out<D: Disk, E>(
    plan: &Plan,
    disk: &mut D,
    mut look: impl FnMut(&mut D, &Step) -> Result<(), E>,
) -> Result<(), Stopped<E>> {
    let mut begun = false;
    for (index, step) in plan.steps().enumerate() {
        if step == Step::Look || matches!(step, Step::Write(_)) && plan.is_guarded() {
            look(disk, &step).map_err(|why| Stopped::Looked { why, begun })?;
        }
        let result = match &step {
            Step::Look => Ok(()),
            Step::Write(write) => {
                begun = true;
                disk.write(write.offset, &write.bytes)
            }
            Step::Flush => disk.flush(),
        };
        result.map_err(|source| Stopped::Failed {
            number: index + 1,
            step: step.to_string(),
            source,
        })?;
    }
    Ok(())
}
