//! `Notify:` in the service's file: channels, and what each is told.
//!
//! ```yaml
//! Notify:
//!   - Kind: telegram
//!     Token: ${TELEGRAM_TOKEN}
//!     ChatId: -1001234567890
//!     MaxAge: 1h
//!     Rules:
//!       - Kind: trade          # or buy, sell
//!         Usd: 10000
//!       - Kind: first-buy
//!       - Kind: cluster
//!         Wallets: 3
//!         Within: 30m
//! ```

use std::time::Duration;

use kohort_service::Complaint;
use kohort_service::config::{Found, Section};
use market_data::{Side, Sum};
use market_store::wallets::{Rule, RuleKind, Rules};

use super::channel::Form;
use super::http::Endpoint;
use super::rate::Limit;
use super::secret::Secret;

/// Where Telegram's Bot API is, unless `Url` names a server of one's own.
const TELEGRAM: &str = "https://api.telegram.org";
const LARK: &str = "https://open.larksuite.com/open-apis/bot/v2/hook/";
const FEISHU: &str = "https://open.feishu.cn/open-apis/bot/v2/hook/";
/// A channel's name is part of keys and labels.
const NAME_CHARS_MAX: usize = 64;
const WALLETS_MAX: u64 = 100;
/// A week: a cluster asks the log for all buys of its time.
const WITHIN_MAX: Duration = Duration::from_secs(7 * 24 * 3600);

/// Everything under `Notify`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct NotifyConfig {
    /// The channels, in the file's order.
    pub channels: Vec<Channel>,
    /// What they are told: for [`market_store::wallets::LogFlush`].
    pub rules: Rules,
}

/// A channel. Its `Debug` shows no secret.
#[derive(Debug, Clone, PartialEq)]
pub struct Channel {
    /// Its name: which rows of the outbox are its own.
    pub name: String,
    /// `file:line` of it.
    pub at: String,
    pub(super) form: Form,
    pub(super) endpoint: Endpoint,
    pub(super) limits: Vec<Limit>,
    /// What must not be in any reason.
    pub(super) secrets: Vec<Secret>,
}

impl Channel {
    /// What kind of channel it is, as configuration says it; `lark` for Feishu too.
    pub fn kind(&self) -> &'static str {
        self.form.kind()
    }

    /// `text` without the channel's secrets, and not too long.
    pub(super) fn scrub(&self, text: &str) -> String {
        let scrubbed = self.secrets.iter().fold(text.to_owned(), |text, secret| secret.scrub(&text));
        scrubbed.chars().filter(|c| !c.is_control()).take(REASON_CHARS_MAX).collect()
    }
}

const REASON_CHARS_MAX: usize = 300;

impl NotifyConfig {
    /// Takes `Notify` from a service's file; nothing is told if there is none. Secrets that stand in the file as they are are noted in
    /// `plain`: what, and `file:line`.
    ///
    /// # Errors
    /// What cannot be, with its place and the mend.
    pub fn read(
        section: &mut Section<'_>,
        plain: &mut Vec<(String, String)>,
    ) -> Result<NotifyConfig, Complaint> {
        let mut config = NotifyConfig::default();
        let Some(found) = section.take("Notify") else { return Ok(config) };
        for found in found.items()? {
            let at = found.complain("").at.unwrap_or_default();
            let mut section = Section::of(found)?;
            let (channel, rules, max_age) = read_channel(&mut section, found, at, plain)?;
            section.finish()?;
            if let Some(first) = config.channels.iter().find(|known| known.name == channel.name) {
                return Err(found
                    .complain(format!(
                        "two channels are called `{}`, the first at {}",
                        channel.name, first.at
                    ))
                    .why("by its name a channel knows what it has sent")
                    .hint("give each its own `Name`"));
            }
            for rule in rules {
                config.rules.add(&channel.name, rule);
            }
            if let Some(max_age) = max_age {
                config.rules.set_max_age(&channel.name, seconds(max_age));
            }
            config.channels.push(channel);
        }
        Ok(config)
    }
}

#[derive(Clone, Copy)]
enum Kind {
    Webhook,
    Telegram,
    Lark,
    Feishu,
    Slack,
}

const KINDS: &[(&str, Kind)] = &[
    ("webhook", Kind::Webhook),
    ("telegram", Kind::Telegram),
    ("lark", Kind::Lark),
    ("feishu", Kind::Feishu),
    ("slack", Kind::Slack),
];

fn read_channel(
    section: &mut Section<'_>,
    found: Found<'_>,
    at: String,
    plain: &mut Vec<(String, String)>,
) -> Result<(Channel, Vec<Rule>, Option<Duration>), Complaint> {
    let kind = section.required("Kind", "it says how the channel is spoken to")?;
    let word = kind.text()?.to_ascii_lowercase();
    let kind = kind.one_of(KINDS)?;
    let name = section.take("Name").map(|found| found.name()).transpose()?.unwrap_or(word);
    if name.chars().count() > NAME_CHARS_MAX || name.chars().any(char::is_control) {
        return Err(found.complain(format!(
            "a channel's `Name` is longer than {NAME_CHARS_MAX} characters, or not one line"
        )));
    }
    let mut secrets = Vec::new();
    let (form, endpoint) = match kind {
        Kind::Webhook => {
            let url = section.required("Url", "it says where the webhook is")?;
            let secret = secret(section.take("Secret"), "the webhook's `Secret`", plain, &mut secrets)?;
            (Form::Webhook { secret }, endpoint(&url, &url.text()?)?)
        }
        Kind::Slack => {
            let url = section.required("Url", "it is the incoming webhook's whole address")?;
            let text = secret_text(&url, "the webhook's `Url` of Slack", plain)?;
            (Form::Slack, endpoint(&url, &text)?)
        }
        Kind::Telegram => read_telegram(section, plain, &mut secrets)?,
        Kind::Lark => read_lark(section, found, LARK, plain, &mut secrets)?,
        Kind::Feishu => read_lark(section, found, FEISHU, plain, &mut secrets)?,
    };
    let mut limits = form.limits();
    if let Some(rate) = section.take("RatePerSecond") {
        let count = usize::try_from(rate.integer(1, 1000)?).unwrap_or(usize::MAX);
        limits[0] = Limit::per_second(count);
    }
    secrets.extend(endpoint.secrets());
    // A secret that is a part of another is not to leave the rest of it to be read.
    secrets.sort_by_key(|secret| std::cmp::Reverse(secret.reveal().len()));
    let max_age = section.take("MaxAge").map(|found| positive(&found)).transpose()?;
    let rules = section.required("Rules", "a channel without rules would never be told anything")?;
    let rules: Vec<Rule> = rules.items()?.into_iter().map(read_rule).collect::<Result<_, _>>()?;
    Ok((Channel { name, at, form, endpoint, limits, secrets }, rules, max_age))
}

fn read_telegram(
    section: &mut Section<'_>,
    plain: &mut Vec<(String, String)>,
    secrets: &mut Vec<Secret>,
) -> Result<(Form, Endpoint), Complaint> {
    let found = section.required("Token", "it is the bot's, from @BotFather")?;
    let token = secret_text(&found, "the bot's `Token` of Telegram", plain)?;
    // What would end the path early would send the message elsewhere, and the token with it.
    if token.is_empty() || !token.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, ':' | '_' | '-')) {
        return Err(found
            .complain("`Token` is not a bot's token")
            .hint("write it as @BotFather does, `123456:ABC...`, or as `${NAME}` of the environment"));
    }
    let chat = section.required("ChatId", "it says which chat, group or channel is told")?;
    let chat_id = chat.name()?;
    let base = section.take("Url");
    let endpoint = match base {
        Some(found) => {
            let base = found.name()?;
            endpoint(&found, &format!("{}/bot{token}/sendMessage", base.trim_end_matches('/')))?
        }
        None => endpoint(&found, &format!("{TELEGRAM}/bot{token}/sendMessage"))?,
    };
    secrets.push(Secret::new(token));
    Ok((Form::Telegram { chat_id }, endpoint))
}

fn read_lark(
    section: &mut Section<'_>,
    found: Found<'_>,
    base: &str,
    plain: &mut Vec<(String, String)>,
    secrets: &mut Vec<Secret>,
) -> Result<(Form, Endpoint), Complaint> {
    let secret = secret(section.take("Secret"), "the bot's `Secret`", plain, secrets)?;
    let endpoint = match (section.take("Url"), section.take("Token")) {
        (Some(url), None) => endpoint(&url, &secret_text(&url, "the bot's `Url`", plain)?)?,
        (None, Some(token)) => {
            let text = secret_text(&token, "the bot's `Token`", plain)?;
            if text.is_empty() || !text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-')) {
                return Err(token
                    .complain("`Token` is not a bot's token")
                    .hint("write the last part of the hook's address, or the whole address as `Url`"));
            }
            endpoint(&token, &format!("{base}{text}"))?
        }
        (Some(_), Some(_)) => {
            return Err(found
                .complain("a bot has both `Url` and `Token`")
                .why("the token is a part of the hook's address, and only one of them could hold")
                .hint("remove one of them"));
        }
        (None, None) => {
            return Err(found
                .complain("a bot has neither `Url` nor `Token`")
                .hint("add `Url: ${LARK_HOOK}`, the hook's whole address, or its last part as `Token`"));
        }
    };
    Ok((Form::Lark { secret }, endpoint))
}

fn endpoint(found: &Found<'_>, url: &str) -> Result<Endpoint, Complaint> {
    Endpoint::parse(url).map_err(|what| found.complain(format!("a channel's address is {what}")))
}

fn secret_text(
    found: &Found<'_>,
    what: &str,
    plain: &mut Vec<(String, String)>,
) -> Result<String, Complaint> {
    Ok(found.secret(what, plain)?.unwrap_or_default())
}

fn secret(
    found: Option<Found<'_>>,
    what: &str,
    plain: &mut Vec<(String, String)>,
    secrets: &mut Vec<Secret>,
) -> Result<Option<Secret>, Complaint> {
    let Some(found) = found else { return Ok(None) };
    let secret = found.secret(what, plain)?.map(Secret::new);
    if secret.is_none() && !found.is_literal() {
        return Err(found
            .complain(format!("{what} is empty: its environment variable is set to nothing"))
            .why("messages would silently not be signed")
            .hint("set the variable, or remove the key"));
    }
    secrets.extend(secret.clone());
    Ok(secret)
}

#[derive(Clone, Copy)]
enum RuleWord {
    Trade(Option<Side>),
    FirstBuy,
    Cluster,
}

const RULES: &[(&str, RuleWord)] = &[
    ("trade", RuleWord::Trade(None)),
    ("buy", RuleWord::Trade(Some(Side::Buy))),
    ("sell", RuleWord::Trade(Some(Side::Sell))),
    ("first-buy", RuleWord::FirstBuy),
    ("cluster", RuleWord::Cluster),
];

fn read_rule(found: Found<'_>) -> Result<Rule, Complaint> {
    let mut section = Section::of(found)?;
    let word = section.required("Kind", "it says what the rule looks for")?.one_of(RULES)?;
    let usd = match section.take("Usd") {
        Some(found) => {
            let text = found.text()?.replace('_', "");
            text.parse::<Sum>().map_err(|_| {
                found
                    .complain(format!("`Usd` is `{text}`, not an amount"))
                    .hint("write a number such as 10000 or 0.5")
            })?
        }
        None => Sum::ZERO,
    };
    let kind = match word {
        RuleWord::Trade(side) => RuleKind::Trade { side },
        RuleWord::FirstBuy => RuleKind::FirstBuy,
        RuleWord::Cluster => {
            let wallets = section.take("Wallets").map(|found| found.integer(2, WALLETS_MAX)).transpose()?;
            let within = section.required("Within", "it says in which time the wallets buy")?;
            let length = positive(&within)?;
            if length > WITHIN_MAX {
                return Err(within.complain("`Within` is longer than a week").hint("write `168h` at most"));
            }
            RuleKind::Cluster {
                wallets: u32::try_from(wallets.unwrap_or(2)).unwrap_or(u32::MAX),
                within_s: seconds(length),
            }
        }
    };
    section.finish()?;
    Ok(Rule { kind, usd })
}

/// A duration of a second at least.
fn positive(found: &Found<'_>) -> Result<Duration, Complaint> {
    let duration = found.duration()?;
    if duration < Duration::from_secs(1) {
        return Err(found
            .complain("a duration is shorter than a second")
            .hint("write `30m`, `1h` or the like"));
    }
    Ok(duration)
}

fn seconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_secs()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use kohort_service::ServiceFile;

    use super::*;

    type Plain = Vec<(String, String)>;

    fn read(yaml: &str) -> Result<(NotifyConfig, Plain), Complaint> {
        let mut plain = Vec::new();
        let read = ServiceFile::parse_with("smart-money", "s.yaml", yaml, |section| {
            NotifyConfig::read(section, &mut plain)
        });
        read.map(|(_, config)| (config, plain))
    }

    const FULL: &str = "
Notify:
  - Kind: webhook
    Name: hook
    Url: http://127.0.0.1:9/in
    Secret: s3cretive
    RatePerSecond: 7
    Rules: [{Kind: trade, Usd: 10_000}]
  - Kind: Telegram
    Token: 123:AB-c_d
    ChatId: -1001
    MaxAge: 1h
    Rules:
      - Kind: first-buy
      - Kind: cluster
        Wallets: 3
        Within: 30m
        Usd: 0.5
  - {Kind: feishu, Token: 0123-4567-89ab, Secret: xyz, Rules: [{Kind: sell}]}
  - {Kind: slack, Url: 'https://hooks.slack.com/services/T/B/0123456789ab', Rules: [{Kind: trade, Usd: 10000}]}
";

    #[test]
    fn channels_and_rules_are_read() {
        let (config, plain) = read(FULL).unwrap();
        let names: Vec<_> =
            config.channels.iter().map(|channel| (channel.name.as_str(), channel.kind())).collect();
        assert_eq!(
            names,
            [("hook", "webhook"), ("telegram", "telegram"), ("feishu", "lark"), ("slack", "slack")]
        );
        assert_eq!(config.channels[1].at, "s.yaml:9");
        assert_eq!(config.channels[0].limits, [Limit::per_second(7)]);
        assert_eq!(config.channels[1].limits, [Limit::per_second(1), Limit::per_minute(20)]);
        let rules: Vec<_> = config.rules.iter().map(|(rule, to)| (rule.to_string(), to.join(" "))).collect();
        let wanted = [
            ("trade, from 10000 USD", "hook slack"),
            ("first buy", "telegram"),
            ("3 wallets in 30m, from 0.5 USD", "telegram"),
            ("sell", "feishu"),
        ];
        assert_eq!(rules, wanted.map(|(rule, to)| (rule.to_owned(), to.to_owned())));
        assert_eq!(plain.len(), 5, "{plain:?}");
    }

    #[test]
    fn no_secret_is_shown() {
        let (config, _) = read(FULL).unwrap();
        let shown = format!("{config:?}");
        for secret in ["s3cretive", "AB-c_d", "0123-4567-89ab", "xyz", "0123456789ab"] {
            assert!(!shown.contains(secret), "{secret} in {shown}");
        }
        let telegram = &config.channels[1];
        assert_eq!(telegram.scrub("POST /bot123:AB-c_d/sendMessage: 123:AB-c_d"), "POST ***: ***");
    }

    #[test]
    fn what_cannot_be_is_refused_with_its_place() {
        let channel = |keys: &str| format!("Notify:\n  - {{{keys}}}\n");
        for (keys, wanted) in [
            ("Kind: telegramm, Rules: []", "did you mean `telegram`?"),
            ("Kind: telegram, ChatId: 1, Rules: []", "no `Token`"),
            ("Kind: telegram, Token: 'a/../b', ChatId: 1, Rules: []", "not a bot's token"),
            ("Kind: slack, Rules: []", "no `Url`"),
            ("Kind: slack, Url: hooks.slack.com, Rules: []", "neither with"),
            ("Kind: lark, Rules: []", "neither `Url` nor `Token`"),
            ("Kind: lark, Url: 'http://a/b', Token: x, Rules: []", "both `Url` and `Token`"),
            ("Kind: lark, Token: '', Rules: []", "not a bot's token"),
            ("Kind: webhook, Url: 'http://a/b'", "no `Rules`"),
            ("Kind: webhook, Url: 'http://a/b', Rules: [{Kind: cluster}]", "no `Within`"),
            (
                "Kind: webhook, Url: 'http://a/b', Rules: [{Kind: cluster, Within: 1m, Wallets: 1}]",
                "from 2 to 100",
            ),
            ("Kind: webhook, Url: 'http://a/b', Rules: [{Kind: trade, Usd: much}]", "not an amount"),
            ("Kind: webhook, Url: 'http://a/b', Rules: [{Kind: trade}], Rule: x", "did you mean `Rules`?"),
        ] {
            let complaint = read(&channel(keys)).unwrap_err().to_string();
            assert!(complaint.contains(wanted), "{keys}: {complaint}");
            assert!(complaint.contains("s.yaml:2"), "{complaint}");
        }
        let twice = "Notify:\n  - {Kind: slack, Url: 'http://a/b', Rules: [{Kind: buy}]}\n  - {Kind: slack, Url: 'http://a/c', Rules: [{Kind: buy}]}\n";
        assert!(read(twice).unwrap_err().to_string().contains("two channels are called `slack`"));
        // A secret of a wrong address is not repeated.
        let wrong = read(&channel("Kind: slack, Url: 'ftp://h/sekret', Rules: []")).unwrap_err().to_string();
        assert!(!wrong.contains("sekret"), "{wrong}");
    }
}
