//! What a sandbox run tells beyond its findings: how they compare with the first run's.

use tocsin_wire::proto::envelope::Body;

use super::{Record, RecordError, Run};
use crate::decide::{ResultMessage, RunState, compare};

impl<R: Record> Run<'_, R> {
    /// The result as it is told. Both journals are closed by then, so a repeat says the same.
    pub(super) async fn compared(
        &self,
        mut result: ResultMessage,
    ) -> Result<ResultMessage, RecordError> {
        let request = &self.work.request;
        if let Body::RunResult(told) = &mut result.body
            && let Some(original) = request.original.as_ref().filter(|_| request.sandbox)
        {
            let entries = self.record.journal_of(original).await?;
            let first = RunState::fold(&entries);
            let first = first.finished.as_ref().map(|(_, finished)| finished);
            told.comparison = Some(compare(&original.run_id, first, told));
        }
        Ok(result)
    }
}
