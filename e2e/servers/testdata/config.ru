run lambda { |env|
  sleep 0.05 if env['PATH_INFO'] == '/slow'
  [200, { 'X-Version' => ENV['VERSION'], 'X-Pid' => Process.pid.to_s, 'Content-Length' => '5' }, ["puma\n"]]
}
