//! The order in which the service sorts primary keys: that of SQL Server's `uniqueidentifier`, which is not the order of
//! their text. Pure. Whoever merges two sorted lists must check that they are sorted like this; nobody documents it.

use uuid::Uuid;

/// What an id is sorted by (`System.Data.SqlTypes.SqlGuid.CompareTo`): its last six bytes count most, then the two before,
/// then the other groups from the right, the first three with their bytes reversed.
#[must_use]
pub fn server_order(id: Uuid) -> [u8; 16] {
    let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = id.to_bytes_le();
    [k, l, m, n, o, p, i, j, g, h, e, f, a, b, c, d]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_group_counts_most_and_the_first_least() {
        let ordered = [
            "ff000000-0000-0000-0000-000000000001",
            "00000000-0000-0000-0100-000000000001",
            "01000000-0000-0000-0000-000000000002",
            "00000001-0000-0000-0000-000000000002",
            "00000000-0001-0000-0000-000000000002",
            "00000000-0100-0000-0000-000000000003",
        ]
        .map(|text| Uuid::try_parse(text).unwrap());
        let sorted = |id: &Uuid| server_order(*id);
        // within the first three groups the bytes are kept reversed: the last byte of the text counts most
        assert!(sorted(&ordered[2]) < sorted(&ordered[3]));
        assert!(ordered.windows(2).all(|pair| sorted(&pair[0]) < sorted(&pair[1])));
    }
}
