//! A broker on its own: `cargo run -p kohort-broker --example broker -- DATA ADDRESS [KEY=VALUE]...`.

use kohort_broker::{Broker, Config};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let (Some(data), Some(listen)) = (args.next(), args.next()) else {
        return Err("usage: broker DATA ADDRESS [KEY=VALUE]...".into());
    };
    let mut config = Config { listen, ..Config::new(data) };
    for pair in args {
        config.settings.set_pair(&pair)?;
    }
    let broker = Broker::start(config).await?;
    println!("broker listening on {}", broker.address());
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    tokio::select! {
        pressed = tokio::signal::ctrl_c() => pressed?,
        _ = terminate.recv() => {}
    }
    broker.shutdown().await;
    Ok(())
}
