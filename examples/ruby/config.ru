run lambda { |env|
  body = "hello from worker #{ENV['FUGUE_WORKER']}, generation #{ENV['FUGUE_GENERATION']}\n"
  [200, { 'Content-Type' => 'text/plain', 'Content-Length' => body.bytesize.to_s }, [body]]
}
