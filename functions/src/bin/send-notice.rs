#[tokio::main]
async fn main() -> Result<(), lambda_http::Error> {
    shared::http::serve(functions::notices::send::handle).await
}
