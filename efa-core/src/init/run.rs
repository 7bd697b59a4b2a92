//! From joining the job to leaving it, around a closure: [`run`].

use std::any::Any;
use std::fmt::Display;

use super::Init;
use crate::collective::Communicator;
use crate::error::Error;

/// Joins the job, runs `program` with the communicator of all ranks, and leaves the job.
///
/// If `program` fails at one rank and not at all others within a second, the job is called off: every operation of the
/// other ranks ends with an error that names the rank and carries its message. A panic calls the job off at once. If
/// `program` succeeds, the call waits until all ranks have finished.
///
/// The closure's error is any type that an [`Error`] converts to, such as [`Error`] itself, `Box<dyn Error>`, or the
/// error of a crate like `anyhow`.
///
/// ```no_run
/// use efa_core::collective::ReduceOp;
///
/// fn main() -> efa_core::Result<()> {
///     efa_core::run(|world| {
///         let mut gradient = vec![world.rank() as f32; 1024];
///         world.all_reduce_in_place(&mut gradient, ReduceOp::Sum)
///     })
/// }
/// ```
///
/// # Errors
/// The errors of [`init`](super::init), of `program`, and of [`Communicator::finish`], in this order. After another rank
/// has called the job off, [`Error::Aborted`] with that rank's message.
pub fn run<T, E>(program: impl FnOnce(&Communicator) -> Result<T, E>) -> Result<T, E>
where
    E: From<Error> + Display + 'static,
{
    Init::from_env()?.run(program)
}

impl Init {
    /// Joins the job that this value describes, and goes on as [`run`].
    ///
    /// # Errors
    /// As [`run`].
    pub fn run<T, E>(self, program: impl FnOnce(&Communicator) -> Result<T, E>) -> Result<T, E>
    where
        E: From<Error> + Display + 'static,
    {
        let world = self.join()?;
        match program(&world) {
            Ok(value) => {
                world.finish()?;
                Ok(value)
            }
            Err(error) => {
                let lost = match (&error as &dyn Any).downcast_ref::<Error>() {
                    Some(Error::PeerLost { peer, .. }) => {
                        Some(peer.rank).filter(|&rank| rank != world.rank())
                    }
                    _ => None,
                };
                world.fail(lost, &error.to_string());
                Err(error)
            }
        }
    }
}
