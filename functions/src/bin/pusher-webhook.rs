fn main() -> Result<(), lambda_http::Error> {
    functions::routes::pusher_webhook()
}
