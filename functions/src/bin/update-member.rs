fn main() -> Result<(), lambda_http::Error> {
    functions::routes::update_member()
}
