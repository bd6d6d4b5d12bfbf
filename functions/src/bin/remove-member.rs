fn main() -> Result<(), lambda_http::Error> {
    functions::routes::remove_member()
}
