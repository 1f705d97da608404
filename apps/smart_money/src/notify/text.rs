//! What a person reads.
//!
//! Symbols and labels are written by strangers: whoever makes a token names it. So control characters, line breaks and the marks that
//! turn the direction of writing are left out, everything is cut to a length, and each channel's markup is escaped.

use market_store::wallets::{Event, What};

/// The words of a channel for emphasis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Markup {
    /// None at all.
    Plain,
    /// Telegram's `parse_mode: HTML`.
    Html,
    /// Slack: `&`, `<` and `>` are all that is special in a `text`; without `<` there is no mention and no hidden link.
    Slack,
    /// Lark and Feishu: `<at ...>` in a text is a mention.
    Lark,
}

/// Telegram's limit, in UTF-16 units; less than any other channel's.
const UNITS_MAX: usize = 4096;
const NAME_MAX: usize = 32;
const ADDRESS_MAX: usize = 96;
/// Wallets that are listed in words.
const LISTED_MAX: usize = 16;

/// The message about an event.
pub(crate) fn message(event: &Event, markup: Markup) -> String {
    let mut lines = vec![headline(event, markup)];
    lines.push(format!(
        "{} {} {}",
        markup.escape(chain(&event.chain_id).as_str()),
        markup.escape("token"),
        markup.code(&clean(&event.token, ADDRESS_MAX)),
    ));
    if let What::Cluster { joined, more, .. } = &event.what {
        for wallet in joined.iter().take(LISTED_MAX) {
            let label = clean(&wallet.label, NAME_MAX);
            let named = if label.is_empty() { String::new() } else { format!("{} ", markup.escape(&label)) };
            let bought = format!(" {} USD, {}", money(&wallet.total_usd), time(wallet.at));
            lines.push(format!(
                "• {named}{}{}",
                markup.code(&clean(&wallet.wallet, ADDRESS_MAX)),
                markup.escape(&bought)
            ));
        }
        let unlisted = joined.len().saturating_sub(LISTED_MAX) as u64 + more;
        if unlisted > 0 {
            lines.push(markup.escape(&format!("• and {unlisted} more")));
        }
    } else {
        lines.push(format!("wallet {}", markup.code(&clean(&event.wallet, ADDRESS_MAX))));
        let mut facts = format!("{} tokens", number(&event.token_amount));
        if !event.price_usd.is_empty() {
            facts = format!("{facts} at {} USD", number(&event.price_usd));
        }
        lines.push(markup.escape(&facts));
        if !event.tx_hash.is_empty() {
            lines.push(format!("tx {}", markup.code(&clean(&event.tx_hash, ADDRESS_MAX))));
        }
    }
    lines.push(markup.escape(&format!("{} · {}", time(event.block_time), event.rule)));
    fit(lines)
}

fn headline(event: &Event, markup: Markup) -> String {
    let or_short = |name: &str, address: &str| {
        let name = clean(name, NAME_MAX);
        if name.is_empty() { short(&clean(address, ADDRESS_MAX)) } else { name }
    };
    let who = or_short(&event.label, &event.wallet);
    let token = or_short(&event.token_symbol, &event.token);
    let usd = money(&event.total_usd);
    let did = match event.side.as_str() {
        "buy" => "bought",
        "sell" => "sold",
        _ => "traded",
    };
    markup.strong(&match &event.what {
        What::Trade => format!("{who} {did} {token} for {usd} USD"),
        What::FirstBuy => format!("First buy: {who} {did} {token} for {usd} USD"),
        What::Cluster { wallets, within_s, opened: true, .. } => {
            format!("{wallets} known wallets bought {token} within {}", span(*within_s))
        }
        What::Cluster { wallets, joined, more, .. } => {
            let new = joined.len() as u64 + more;
            let plural = if new == 1 { "wallet" } else { "wallets" };
            format!("{new} more known {plural} bought {token}: {wallets} by now")
        }
    })
}

impl Markup {
    fn escape(self, text: &str) -> String {
        match self {
            Markup::Plain => text.to_owned(),
            Markup::Slack => entities(text),
            // Telegram makes a mention of `@name` wherever it stands, but in `<code>`; the sign that looks like it is none.
            Markup::Html => entities(text).replace('@', "＠"),
            // Nothing says that entities are read there; the marks that look like brackets are none.
            Markup::Lark => text.replace('<', "‹").replace('>', "›"),
        }
    }

    fn strong(self, text: &str) -> String {
        let text = self.escape(text);
        if self == Markup::Html { format!("<b>{text}</b>") } else { text }
    }

    /// A text to be copied: an address.
    fn code(self, text: &str) -> String {
        if self == Markup::Html { format!("<code>{}</code>", entities(text)) } else { self.escape(text) }
    }
}

fn entities(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// Whole lines as far as they fit; what is cut is said. Each line is far shorter than the limit.
fn fit(lines: Vec<String>) -> String {
    let mut text = String::new();
    let mut units = 0;
    for line in lines {
        let more = line.encode_utf16().count() + 1;
        if units + more + 2 > UNITS_MAX {
            text.push_str("\n…");
            break;
        }
        if !text.is_empty() {
            text.push('\n');
        }
        text.push_str(&line);
        units += more;
    }
    text
}

/// A stranger's text in one line, at most `chars` long.
fn clean(text: &str, chars: usize) -> String {
    let hidden = |c: char| {
        c.is_control()
            || matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}')
            || matches!(c, '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
    };
    let mut visible = text.chars().filter(|c| !hidden(*c));
    let mut cleaned: String = visible.by_ref().take(chars).collect();
    if visible.next().is_some() {
        cleaned.pop();
        cleaned.push('…');
    }
    cleaned.trim().to_owned()
}

/// An address as people recognise it.
fn short(address: &str) -> String {
    let chars: Vec<char> = address.chars().collect();
    if chars.len() <= 13 {
        return address.to_owned();
    }
    let (head, tail) = (&chars[..6], &chars[chars.len() - 4..]);
    head.iter().chain(&['…']).chain(tail).collect()
}

fn chain(id: &str) -> String {
    match id {
        "1" => "Ethereum".to_owned(),
        "56" => "BSC".to_owned(),
        "8453" => "Base".to_owned(),
        "100000" => "Solana".to_owned(),
        other => format!("chain {}", clean(other, NAME_MAX)),
    }
}

/// A decimal number with two places and groups of three digits; what is smaller than a cent as it is.
fn money(text: &str) -> String {
    let (integer, fraction) = text.split_once('.').unwrap_or((text, ""));
    if integer == "0" && fraction.starts_with("00") {
        return number(text);
    }
    let cents: String = fraction.chars().chain("00".chars()).take(2).collect();
    format!("{}.{cents}", grouped(integer))
}

/// A decimal number, cut to eight digits that say something.
fn number(text: &str) -> String {
    let (integer, fraction) = text.split_once('.').unwrap_or((text, ""));
    let of_integer = integer.trim_start_matches('0').len();
    let zeros = fraction.len() - fraction.trim_start_matches('0').len();
    let places = if of_integer > 0 { 8usize.saturating_sub(of_integer) } else { zeros + 8 };
    let fraction: String = fraction.chars().take(places).collect();
    let fraction = fraction.trim_end_matches('0');
    if fraction.is_empty() { grouped(integer) } else { format!("{}.{fraction}", grouped(integer)) }
}

fn grouped(integer: &str) -> String {
    let mut out = String::new();
    for (at, digit) in integer.chars().enumerate() {
        if at > 0 && (integer.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

fn span(seconds: i64) -> String {
    match seconds {
        s if s % 3600 == 0 => format!("{} h", s / 3600),
        s if s % 60 == 0 => format!("{} min", s / 60),
        s => format!("{s} s"),
    }
}

/// Unix seconds as `2024-01-05 12:00:23 UTC`.
fn time(seconds: i64) -> String {
    let (days, rest) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    // Days to a date of the Gregorian calendar: years that begin in March put the leap day at their end.
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = (month_from_march + 2) % 12 + 1;
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} UTC")
}

#[cfg(test)]
pub(crate) mod tests {
    use market_store::wallets::Joined;

    use super::*;

    pub(crate) fn event(what: What) -> Event {
        Event {
            what,
            rule: "buy, from 10000 USD".into(),
            chain_id: "100000".into(),
            token: "So11111111111111111111111111111111111111112".into(),
            token_symbol: "P<b>&\u{202e}\nEPE".into(),
            pair: "pair".into(),
            wallet: "EuhWKYxMPf4vE3uNTjyYoTBYMeLkYyAuj6e9JmzzCPbm".into(),
            label: "".into(),
            side: "buy".into(),
            token_amount: "1234567.8912345".into(),
            total_usd: "12345.678".into(),
            price_usd: "0.00001188419361772".into(),
            block_time: 1_704_456_023,
            tx_hash: "5xTx".into(),
            trade_id: "100000/pair/5xTx/0".into(),
        }
    }

    pub(crate) fn cluster(joined: usize, name: &str) -> Event {
        let one = |n: usize| Joined {
            wallet: format!("{n:0>96}"),
            label: name.repeat(64),
            at: 1_704_456_023,
            total_usd: "99".repeat(17),
        };
        event(What::Cluster {
            wallets: 60,
            within_s: 1800,
            first_at: 1,
            last_at: 2,
            opened: true,
            joined: (0..joined).map(one).collect(),
            more: 10,
        })
    }

    #[test]
    fn a_trade_in_words() {
        assert_eq!(
            message(&event(What::Trade), Markup::Html),
            "<b>EuhWKY…CPbm bought P&lt;b&gt;&amp;EPE for 12,345.67 USD</b>\n\
             Solana token <code>So11111111111111111111111111111111111111112</code>\n\
             wallet <code>EuhWKYxMPf4vE3uNTjyYoTBYMeLkYyAuj6e9JmzzCPbm</code>\n\
             1,234,567.8 tokens at 0.000011884193 USD\n\
             tx <code>5xTx</code>\n\
             2024-01-05 12:00:23 UTC · buy, from 10000 USD"
        );
        let slack = message(&event(What::FirstBuy), Markup::Slack);
        assert!(slack.starts_with("First buy: EuhWKY…CPbm bought P&lt;b&gt;&amp;EPE for"), "{slack}");
        let lark = message(&event(What::Trade), Markup::Lark);
        assert!(lark.starts_with("EuhWKY…CPbm bought P‹b›&EPE for"), "{lark}");
    }

    #[test]
    fn whoever_names_a_token_calls_nobody() {
        let mut event = event(What::Trade);
        event.token_symbol = "@durov <at user_id=\"all\">".into();
        event.tx_hash = "0x5@1".into();
        let of = |markup| message(&event, markup).lines().next().unwrap_or_default().to_owned();
        let html = "<b>EuhWKY…CPbm bought ＠durov &lt;at user_id=\"all\"&gt; for 12,345.67 USD</b>";
        assert_eq!(of(Markup::Html), html);
        assert!(message(&event, Markup::Html).contains("\ntx <code>0x5@1</code>\n"));
        assert!(!of(Markup::Slack).contains('<') && !of(Markup::Lark).contains('<'));
    }

    #[test]
    fn a_cluster_in_words() {
        let text = message(&cluster(2, "x"), Markup::Plain);
        assert!(text.starts_with("60 known wallets bought P<b>&EPE within 30 min\n"), "{text}");
        assert!(text.contains("\n• and 10 more\n"), "{text}");
    }

    #[test]
    fn no_message_is_longer_than_any_channel_takes() {
        // The worst that names can be: marks that are escaped, letters of two units.
        for name in ["&", "<", "𝔛", "a"] {
            for markup in [Markup::Plain, Markup::Html, Markup::Slack, Markup::Lark] {
                let text = message(&cluster(50, name), markup);
                assert!(text.encode_utf16().count() <= UNITS_MAX, "{}", text.encode_utf16().count());
                assert_eq!(text.matches("<code>").count(), text.matches("</code>").count());
            }
        }
    }

    #[test]
    fn numbers_as_people_write_them() {
        for (text, wanted) in
            [("0", "0.00"), ("1234.5", "1,234.50"), ("0.0012", "0.0012"), ("1000000", "1,000,000.00")]
        {
            assert_eq!(money(text), wanted);
        }
        for (text, wanted) in [
            ("12.000000000000000000000000000001", "12"),
            ("123456789.5", "123,456,789"),
            ("0.000000000123456789123", "0.00000000012345678"),
        ] {
            assert_eq!(number(text), wanted);
        }
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        assert_eq!(time(0), "1970-01-01 00:00:00 UTC");
        assert_eq!(time(951_782_399), "2000-02-28 23:59:59 UTC");
        assert_eq!(time(951_782_400), "2000-02-29 00:00:00 UTC");
        assert_eq!(time(4_107_542_400), "2100-03-01 00:00:00 UTC");
    }
}
