use Time::HiRes 'sleep';

sub {
    my $env = shift;
    sleep $1 / 1000 if $env->{QUERY_STRING} =~ /ms=(\d+)/;
    [200, ['X-Version' => $ENV{VERSION}, 'X-Pid' => $$, 'Content-Length' => 5], ["perl\n"]];
};
