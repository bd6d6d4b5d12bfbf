fn main() -> Result<(), lambda_http::Error> {
    functions::mains::add_members()
}
