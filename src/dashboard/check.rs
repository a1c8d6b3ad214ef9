//! What a verification of the file has found.

use crate::Verification;

use super::api::Check;

pub(super) fn found(verification: Verification) -> Check {
    let Verification { jobs, mut problems, problems_left_out, .. } = verification;
    if problems_left_out > 0 {
        problems.push(format!("{problems_left_out} more problems are not listed"));
    }
    Check { jobs, problems }
}
