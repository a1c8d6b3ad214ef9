//! The name of the payload codec in the file: what is coded in the file can be read by that codec only.

use crate::storage::rows::batch::Batch;
use crate::storage::rows::codec;
use crate::storage::rows::fault::Fault;
use crate::storage::rows::reader::Reader;
use crate::storage::rows::table_name::TableName;
use crate::storage::rows::tables_ext::RowTable;
use crate::storage::rows::version::{CODED_VERSION, raise_to};

/// The key of its row in `meta`. A file that never had a payload codec has no such row.
const PAYLOAD_CODEC: &str = "payload_codec";

impl Reader {
    /// The name of the file's payload codec, if it has one.
    pub fn payload_codec(&self) -> Result<Option<String>, Fault> {
        match self.tables().meta()?.get_row(PAYLOAD_CODEC)? {
            Some(row) => codec::decode(TableName::Meta, 2, &row).map(Some),
            None => Ok(None),
        }
    }
}

impl Batch<'_> {
    /// From this commit on, the file has a payload codec of this name, and builds that know no payload codecs refuse it.
    pub fn set_payload_codec(&mut self, name: &str) -> Result<(), Fault> {
        self.touch();
        self.tables.meta()?.insert(PAYLOAD_CODEC, codec::encode(&name).as_slice())?;
        raise_to(&mut self.tables, CODED_VERSION)
    }
}
