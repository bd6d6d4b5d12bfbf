#[tokio::main]
async fn main() -> Result<(), lambda_http::Error> {
    shared::http::serve(functions::chats::read::handle).await
}
