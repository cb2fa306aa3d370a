package com.github.flinktail.jobs;

import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;

/** Runs for about so many milliseconds and finishes. Arguments: name, milliseconds. */
public final class BoundedJob {
    private BoundedJob() {}

    public static void main(String[] args) throws Exception {
        long millis = Long.parseLong(args[1]);
        StreamExecutionEnvironment env = Numbers.environment(0);
        Numbers.until(10, millis / 10, env).print();
        env.executeAsync(args[0]);
    }
}
