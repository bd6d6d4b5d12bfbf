//! `migrate`: brings the database to this version's schema, at deploy or by hand.

use backtalk_http::log_to_stdout;
use lambda_runtime::{Error as LambdaError, LambdaEvent, service_fn};
use parameters::Variables;
use serde_json::{Value, json};
use store::config::DatabaseConfig;
use tracing::info;

/// As a function, migrates at every invocation; with `MIGRATE_ONCE=1` in its environment, once and at once.
#[tokio::main]
pub async fn serve() -> Result<(), LambdaError> {
    log_to_stdout();
    if std::env::var("MIGRATE_ONCE").is_ok_and(|once| once == "1") {
        return migrate().await;
    }
    lambda_runtime::run(service_fn(|_: LambdaEvent<Value>| async {
        migrate().await?;
        Ok::<_, LambdaError>(json!({"migrated": true}))
    }))
    .await
}

async fn migrate() -> Result<(), LambdaError> {
    let config = Variables::of_process(async || aws::settings())
        .await?
        .read(DatabaseConfig::read)?;
    store::migrate(&config)
        .await
        .map_err(|error| LambdaError::from(format!("{error:#}")))?;
    info!(schema = config.schema, "the schema is up to date");
    Ok(())
}
