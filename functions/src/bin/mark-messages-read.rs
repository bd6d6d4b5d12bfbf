#[tokio::main]
async fn main() -> Result<(), lambda_http::Error> {
    shared::http::serve(functions::unread::mark_read::handle).await
}
