#[tokio::main]
async fn main() -> Result<(), lambda_http::Error> {
    shared::http::serve_streaming(functions::events::stream::handle).await
}
