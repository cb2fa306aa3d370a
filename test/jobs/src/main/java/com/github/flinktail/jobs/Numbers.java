package com.github.flinktail.jobs;

import org.apache.flink.api.common.functions.MapFunction;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.streaming.api.datastream.DataStream;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;

/** What the DataStream jobs have in common: a source of numbers that come at a steady pace. */
final class Numbers {
    private Numbers() {}

    /** An environment that restarts a failed job so often, shortly after the failure. */
    static StreamExecutionEnvironment environment(int restarts) {
        Configuration conf = new Configuration();
        conf.setString("restart-strategy.type", restarts == 0 ? "none" : "fixed-delay");
        conf.setString("restart-strategy.fixed-delay.attempts", String.valueOf(restarts));
        conf.setString("restart-strategy.fixed-delay.delay", "100 ms");
        return StreamExecutionEnvironment.getExecutionEnvironment(conf);
    }

    /** The numbers from 1 to last, one every so many milliseconds. */
    static DataStream<Long> until(long last, long everyMillis, StreamExecutionEnvironment env) {
        return env.fromSequence(1, last).map(new Pace(everyMillis)).name("pace");
    }

    private static final class Pace implements MapFunction<Long, Long> {
        private static final long serialVersionUID = 1L;
        private final long millis;

        Pace(long millis) {
            this.millis = millis;
        }

        @Override
        public Long map(Long n) throws InterruptedException {
            Thread.sleep(millis);
            return n;
        }
    }
}
