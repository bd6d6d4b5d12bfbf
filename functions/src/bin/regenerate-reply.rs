#[tokio::main]
async fn main() -> Result<(), lambda_http::Error> {
    shared::http::serve_streaming(functions::replies::regenerate::handle).await
}
