#[tokio::main]
async fn main() -> Result<(), lambda_http::Error> {
    shared::http::serve(functions::posts::delete::handle).await
}
