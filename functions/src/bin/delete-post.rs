fn main() -> Result<(), lambda_http::Error> {
    functions::routes::delete_post()
}
