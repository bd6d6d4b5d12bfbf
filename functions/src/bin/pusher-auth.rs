fn main() -> Result<(), lambda_http::Error> {
    functions::mains::pusher_auth()
}
