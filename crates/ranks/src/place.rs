//! Which of several processes this one is, as the program says that started them.

use thiserror::Error;

/// The place of this process among those that were started together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Its number, from 0.
    pub rank: usize,
    /// The number of processes, at least 2.
    pub size: usize,
    /// Whether all of them are known to be on this machine.
    pub one_machine: bool,
}

/// A launcher's variables make no sense.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("the environment variables {rank}={rank_value} and {size}={size_value} do not name one of several processes")]
pub struct PlaceError {
    rank: &'static str,
    rank_value: String,
    size: &'static str,
    size_value: String,
}

impl PlaceError {
    /// What the user can do about it.
    pub fn hint(&self) -> String {
        let Self { rank, size, .. } = self;
        format!("{size} is the number of processes, {rank} the number of this one, from 0; unset both to run alone")
    }
}

/// The variables of a launcher: rank, number of ranks, and the number of ranks (or, with `true`, of machines) from which it
/// follows whether all are on one machine.
type Variables = (&'static str, &'static str, Option<(&'static str, bool)>);

/// By precedence: an `mpirun` may itself run in a step of Slurm.
const LAUNCHERS: [Variables; 4] = [
    // Set by hand, or by a launcher that is not known here.
    ("TABPO_RANK", "TABPO_RANKS", None),
    // Open MPI.
    ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", Some(("OMPI_COMM_WORLD_LOCAL_SIZE", false))),
    // MPICH, Intel MPI, MVAPICH.
    ("PMI_RANK", "PMI_SIZE", Some(("MPI_LOCALNRANKS", false))),
    // Slurm's srun. A batch script alone has SLURM_NTASKS, too, but is no step with tasks.
    ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS", Some(("SLURM_STEP_NUM_NODES", true))),
];

impl Place {
    /// The place of this process, if it was started as one of several by `mpirun`, by Slurm's `srun`, or with the
    /// variables `TABPO_RANK` and `TABPO_RANKS`.
    pub fn of_environment() -> Result<Option<Self>, PlaceError> {
        Self::from_variables(|name| std::env::var(name).ok())
    }

    fn from_variables(variable: impl Fn(&str) -> Option<String>) -> Result<Option<Self>, PlaceError> {
        let launcher = LAUNCHERS.iter().find_map(|&(rank, size, local)| {
            Some(((rank, variable(rank)?), (size, variable(size)?), local.map(|(name, nodes)| (variable(name), nodes))))
        });
        let Some(((rank, rank_value), (size, size_value), local)) = launcher else { return Ok(None) };
        let numbers = rank_value.trim().parse::<usize>().ok().zip(size_value.trim().parse::<usize>().ok());
        match numbers {
            Some((rank, size)) if rank < size => {
                let one_machine = match local {
                    Some((Some(count), nodes)) => count.trim().parse() == Ok(if nodes { 1 } else { size }),
                    _ => false,
                };
                Ok((size > 1).then_some(Self { rank, size, one_machine }))
            }
            _ => Err(PlaceError { rank, rank_value, size, size_value }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(variables: &[(&str, &str)]) -> Result<Option<Place>, PlaceError> {
        let find =
            |name: &str| variables.iter().find(|(other, _)| *other == name).map(|(_, value)| (*value).to_owned());
        Place::from_variables(find)
    }

    #[test]
    fn every_launcher_is_understood() {
        let at = |rank, size, one_machine| Ok(Some(Place { rank, size, one_machine }));
        assert_eq!(place(&[]), Ok(None));
        let open_mpi = [("OMPI_COMM_WORLD_RANK", "1"), ("OMPI_COMM_WORLD_SIZE", "4")];
        assert_eq!(place(&open_mpi), at(1, 4, false));
        assert_eq!(place(&[open_mpi[0], open_mpi[1], ("OMPI_COMM_WORLD_LOCAL_SIZE", "4")]), at(1, 4, true));
        assert_eq!(place(&[("PMI_RANK", "0"), ("PMI_SIZE", "2"), ("MPI_LOCALNRANKS", "1")]), at(0, 2, false));
        let step = [("SLURM_PROCID", "2"), ("SLURM_STEP_NUM_TASKS", "3"), ("SLURM_STEP_NUM_NODES", "1")];
        assert_eq!(place(&step), at(2, 3, true));
        // `mpirun` within a step of Slurm that has one task.
        let within = [step[0], ("SLURM_STEP_NUM_TASKS", "1"), open_mpi[0], open_mpi[1]];
        assert_eq!(place(&within), at(1, 4, false));
        // A batch script that starts the program without `srun`.
        assert_eq!(place(&[("SLURM_PROCID", "0"), ("SLURM_NTASKS", "8")]), Ok(None));
        assert_eq!(place(&[("PMI_RANK", "0"), ("PMI_SIZE", "1")]), Ok(None), "alone");
    }

    #[test]
    fn nonsense_is_named() {
        for (rank, size) in [("2", "2"), ("-1", "2"), ("0", "0"), ("zero", "2")] {
            let error = place(&[("TABPO_RANK", rank), ("TABPO_RANKS", size)]).expect_err("nonsense");
            assert!(error.to_string().contains(&format!("TABPO_RANK={rank} and TABPO_RANKS={size}")), "{error}");
            assert!(error.hint().starts_with("TABPO_RANKS is the number of processes"));
        }
    }
}
