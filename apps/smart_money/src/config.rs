//! The keys of the service's file that are Smart Money's own.

use std::path::{Path, PathBuf};

use kohort_service::config::{Found, Section};
use kohort_service::{Complaint, ServiceFile};
use market_data::wallets::FalsePositiveRate;

use crate::notify::NotifyConfig;

/// The name of the service in complaints.
pub const SERVICE: &str = "smart_money";

/// What the file says to this service alone.
#[derive(Debug, Clone, PartialEq)]
pub struct Own {
    /// `Addresses`.
    pub addresses: Addresses,
    /// `Notify`.
    pub notify: NotifyConfig,
}

/// `Addresses: File, FalsePositiveRate`.
#[derive(Debug, Clone, PartialEq)]
pub struct Addresses {
    /// The file of addresses, and `file:line` of where it is named.
    pub file: Option<(PathBuf, String)>,
    /// What the filter is sized for. Default: one in a thousand.
    pub rate: FalsePositiveRate,
}

impl Default for Addresses {
    fn default() -> Addresses {
        Addresses { file: None, rate: FalsePositiveRate::DEFAULT }
    }
}

impl Own {
    /// Reads the service's file.
    ///
    /// # Errors
    /// As [`ServiceFile::read_with`].
    pub fn read(path: &Path) -> Result<(ServiceFile, Own), Complaint> {
        let shown = path.display().to_string();
        ServiceFile::read_with(SERVICE, path, |section| Own::take(&shown, section)).map(with_secrets)
    }

    /// Reads `text` as the file `shown`.
    ///
    /// # Errors
    /// As [`ServiceFile::parse_with`].
    pub fn parse(shown: &str, text: &str) -> Result<(ServiceFile, Own), Complaint> {
        ServiceFile::parse_with(SERVICE, shown, text, |section| Own::take(shown, section)).map(with_secrets)
    }

    fn take(shown: &str, section: &mut Section<'_>) -> Result<(Own, PlainSecrets), Complaint> {
        let addresses = section.take("Addresses").map(|found| read_addresses(shown, found)).transpose()?;
        let mut secrets = PlainSecrets::new();
        let notify = NotifyConfig::read(section, &mut secrets)?;
        Ok((Own { addresses: addresses.unwrap_or_default(), notify }, secrets))
    }
}

/// What stands in a file as it is and should not: what, and `file:line`.
type PlainSecrets = Vec<(String, String)>;

fn with_secrets((mut file, (own, secrets)): (ServiceFile, (Own, PlainSecrets))) -> (ServiceFile, Own) {
    file.plain_secrets.extend(secrets);
    (file, own)
}

fn read_addresses(shown: &str, found: Found<'_>) -> Result<Addresses, Complaint> {
    let mut section = Section::of(found)?;
    let file = match section.take("File") {
        Some(found) => Some((PathBuf::from(found.name()?), format!("{shown}:{}", found.line()))),
        None => None,
    };
    let rate = match section.take("FalsePositiveRate") {
        None => FalsePositiveRate::DEFAULT,
        Some(found) => {
            let text = found.text()?;
            let rate = text.parse().ok().and_then(|rate| FalsePositiveRate::new(rate).ok());
            rate.ok_or_else(|| {
                found
                    .complain(format!("`FalsePositiveRate` is `{text}`, it must be from 0.000001 to 0.5"))
                    .why("the filter in front of the address book is sized for it")
                    .hint("write `FalsePositiveRate: 0.001`, or leave it out")
            })?
        }
    };
    section.finish()?;
    Ok(Addresses { file, rate })
}

#[cfg(test)]
mod tests {
    use super::*;

    const KQ: &str = "Kq:\n  Group: g\n  Topic: t\n";

    #[test]
    fn the_shipped_file_is_the_originals_and_has_its_defaults() {
        let (file, own) = Own::parse("etc/smartmoney.yaml", include_str!("../etc/smartmoney.yaml")).unwrap();
        let [kq] = &file.kqs[..] else { panic!("one block") };
        assert_eq!((&*kq.name, &*kq.group, &*kq.topic), ("Kq", "data-kline-group-api", "sol-trades"));
        assert_eq!((kq.consumers, kq.processors), (1, 1));
        assert_eq!((own.addresses, file.warnings), (Addresses::default(), vec![]));
        assert_eq!(own.notify, NotifyConfig::default());
    }

    #[test]
    fn addresses_are_a_file_and_a_rate() {
        let text = format!("{KQ}Addresses:\n  File: wallets.txt\n  FalsePositiveRate: 0.01\n");
        let (_, own) = Own::parse("f.yaml", &text).unwrap();
        assert_eq!(own.addresses.file, Some((PathBuf::from("wallets.txt"), "f.yaml:5".to_owned())));
        assert_eq!(own.addresses.rate.get(), 0.01);
        for (wrong, said) in
            [("FalsePositiveRate: 0", "from 0.000001 to 0.5"), ("Fiel: x", "did you mean `File`?")]
        {
            let complaint = Own::parse("f.yaml", &format!("{KQ}Addresses:\n  {wrong}\n")).unwrap_err();
            assert!(complaint.to_string().contains(said), "{complaint}");
            assert_eq!(complaint.at.as_deref(), Some("f.yaml:5"));
        }
    }
}
