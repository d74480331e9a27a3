run lambda { |env|
  [200, { 'X-Version' => ENV['VERSION'], 'X-Pid' => Process.pid.to_s, 'Content-Length' => '5' }, ["puma\n"]]
}
