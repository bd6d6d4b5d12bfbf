fn main() -> Result<(), lambda_http::Error> {
    functions::routes::get_usage()
}
