fn main() -> Result<(), lambda_http::Error> {
    functions::routes::join_reply()
}
