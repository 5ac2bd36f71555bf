//! How many files and sockets the process may have open.

/// More than any service needs: ingress holds at most 4096 connections and a few dozen files. Not simply
/// all that is allowed, because children of a process may walk through every possible number.
#[cfg(target_os = "linux")]
const WANTED: u64 = 65_536;

/// Raises the soft limit to the hard one, which is the operator's, up to 65,536; says what holds then, if
/// there is a limit.
///
/// A shell's 1024, kept for programs with `select`, is less than the connections that one listener takes,
/// and would let a thousand slow peers keep everyone else out. Where the kernel refuses, or is not Linux, nothing
/// changes.
pub fn raise_limit() -> Option<u64> {
    #[cfg(target_os = "linux")]
    {
        use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
        let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
        let wanted = maximum.unwrap_or(WANTED).min(WANTED);
        if current.is_some_and(|current| current < wanted) {
            let raised = Rlimit {
                current: Some(wanted),
                maximum,
            };
            // What holds is read again below, and the log has it.
            let _refused = setrlimit(Resource::Nofile, raised);
        }
        getrlimit(Resource::Nofile).current
    }
    #[cfg(not(target_os = "linux"))]
    None
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    /// The limit counts for the whole process, which is this test's own under nextest; it is put back.
    #[test]
    fn a_low_limit_is_raised_as_far_as_is_allowed() {
        let before = getrlimit(Resource::Nofile);
        let low = Rlimit {
            current: Some(256),
            maximum: before.maximum,
        };
        setrlimit(Resource::Nofile, low).expect("lowered");
        let raised = super::raise_limit().expect("a limit");
        let allowed = before.maximum.unwrap_or(super::WANTED).min(super::WANTED);
        assert_eq!(raised, allowed);
        assert_eq!(super::raise_limit(), Some(allowed), "once is enough");
        setrlimit(Resource::Nofile, before).expect("as it was");
    }
}
