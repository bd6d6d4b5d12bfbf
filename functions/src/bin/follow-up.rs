#[tokio::main]
async fn main() -> Result<(), lambda_http::Error> {
    shared::http::serve(functions::posts::follow_up::handle).await
}
