#[tokio::main]
async fn main() -> Result<(), lambda_http::Error> {
    shared::http::serve_batches(functions::person::handle).await
}
