//! Names on demand: asked for, learned, absent, given up.

use weft_config::listener::{AccessLog, AccessLogFormat, ChainAction, Direction};

use super::*;

#[tokio::test(start_paused = true)]
async fn what_mesh_mode_learns_is_logged_as_the_command_line_says() {
    let mut client = Client::mesh();
    let log = AccessLog {
        path: "/dev/stdout".into(),
        format: AccessLogFormat::Text,
    };
    client.core.options.access_log = Some(log.clone());
    client.core.stream_began();
    let demand = client.demand.clone().unwrap();
    let _ticket = demand.want("a:80");
    client.step();
    client.told(Kind::Listener, vec![("1", api_listener("a:80", "t"))], &[]);
    client.told(Kind::Route, vec![("1", routes("t", "c"))], &[]);
    client.told(Kind::Cluster, vec![("1", cluster("c"))], &[]);
    client.told(Kind::Endpoints, vec![("1", endpoints("c"))], &[]);
    let Wanted::Ready(view) = demand.want("a:80") else {
        panic!("not in force");
    };
    let chain = view.config.default_filter_chain.as_ref();
    let Some(ChainAction::Http(hcm)) = chain.map(|chain| &chain.action) else {
        panic!("not HTTP: {:?}", view.config);
    };
    assert_eq!(hcm.access_log, [log.of_direction(Direction::Outbound)]);
}

#[tokio::test(start_paused = true)]
async fn a_name_that_the_server_does_not_know_is_absent() {
    let mut client = Client::mesh();
    client.core.stream_began();
    let demand = client.demand.clone().unwrap();
    let Wanted::Pending(ticket) = demand.want("nobody:80") else {
        panic!("known already");
    };
    client.step();
    client.told(Kind::Listener, vec![], &["nobody:80"]);
    assert_eq!(ticket.await.unwrap_err(), Absence::Unknown);
}

/// What `requests` say about listeners by name: those asked for, and those given up. State of the world: those asked for.
fn listener_names(requests: &[Request]) -> (Vec<String>, Vec<String>) {
    let mut names = (Vec::new(), Vec::new());
    for request in requests {
        match request {
            Request::Delta(it) => {
                names.0.extend(it.resource_names_subscribe.clone());
                names.1.extend(it.resource_names_unsubscribe.clone());
            }
            Request::Sotw(it) => names.0.extend(it.resource_names.clone()),
        }
    }
    names
}

#[tokio::test(start_paused = true)]
async fn an_unknown_name_is_asked_for_anew_after_its_time_though_nothing_else_happens() {
    let gone: Vec<String> = vec!["nobody:80".to_owned()];
    for (protocol, given_up) in [(Protocol::Delta, gone.clone()), (Protocol::Sotw, vec![])] {
        let mut client = Client::mesh_over(protocol);
        client.core.stream_began();
        let demand = client.demand.clone().unwrap();
        for _ in 0..3 {
            let Wanted::Pending(ticket) = demand.want("nobody:80") else {
                panic!("{protocol:?}: known already");
            };
            assert_eq!(
                listener_names(&client.step()).0,
                gone,
                "{protocol:?}: the server hears the question"
            );
            let removed: &[&str] = match protocol {
                Protocol::Delta => &["nobody:80"],
                Protocol::Sotw => &[],
            };
            client.told(Kind::Listener, vec![], removed);
            assert_eq!(ticket.await.unwrap_err(), Absence::Unknown);
            let asked = client.now;
            let requests = client.step_when_due().await;
            assert_eq!(client.now, asked + DemandLimits::default().absent_for);
            assert_eq!(
                listener_names(&requests),
                (vec![], given_up.clone()),
                "{protocol:?}"
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_waits_for_a_silent_server_is_told_after_the_answer_time_out() {
    for protocol in [Protocol::Delta, Protocol::Sotw] {
        let mut client = Client::mesh_over(protocol);
        client.core.stream_began();
        let demand = client.demand.clone().unwrap();
        let asked = client.now;
        let Wanted::Pending(ticket) = demand.want("a:80") else {
            panic!("known already");
        };
        client.step_when_due().await;
        assert_eq!(client.now, asked + DemandLimits::default().answer_timeout);
        assert_eq!(ticket.await.unwrap_err(), Absence::TimedOut);
    }
}

#[tokio::test(start_paused = true)]
async fn a_name_that_came_to_exist_stays_in_force_when_its_absence_would_be_over() {
    let mut client = Client::mesh();
    client.core.stream_began();
    let demand = client.demand.clone().unwrap();
    let _ticket = demand.want("a:80");
    client.step();
    client.told(Kind::Listener, vec![], &["a:80"]);
    client.told(Kind::Listener, vec![("1", api_listener("a:80", "t"))], &[]);
    client.told(Kind::Route, vec![("1", routes("t", "c"))], &[]);
    client.told(Kind::Cluster, vec![("1", cluster("c"))], &[]);
    client.told(Kind::Endpoints, vec![("1", endpoints("c"))], &[]);
    assert!(matches!(demand.want("a:80"), Wanted::Ready(_)));
    assert_eq!(client.core.to_save().names, ["a:80"], "it is in use");
    tokio::time::advance(DemandLimits::default().absent_for).await;
    client.now = Instant::now();
    assert_eq!(client.step(), []);
    assert!(matches!(demand.want("a:80"), Wanted::Ready(_)));
}

#[tokio::test(start_paused = true)]
async fn an_idle_name_is_unsubscribed_with_all_that_hangs_on_it() {
    let mut client = Client::mesh();
    client.core.stream_began();
    let demand = client.demand.clone().unwrap();
    let _ticket = demand.want("a:80");
    client.step();
    client.told(Kind::Listener, vec![("1", api_listener("a:80", "t"))], &[]);
    client.told(Kind::Route, vec![("1", routes("t", "c"))], &[]);
    client.told(Kind::Cluster, vec![("1", cluster("c"))], &[]);
    client.told(Kind::Endpoints, vec![("1", endpoints("c"))], &[]);
    tokio::time::advance(DemandLimits::default().idle_after).await;
    client.now = Instant::now();
    let requests = client.step();
    for (kind, name) in [
        (Kind::Listener, "a:80"),
        (Kind::Route, "t"),
        (Kind::Cluster, "c"),
        (Kind::Endpoints, "c"),
    ] {
        let told = requests
            .iter()
            .map(delta)
            .filter(|it| it.type_url == kind.type_url());
        let names: Vec<_> = told
            .flat_map(|it| it.resource_names_unsubscribe.clone())
            .collect();
        assert_eq!(names, [name], "{kind:?}");
        assert!(
            client.core.accepted().lock().of(kind).is_empty(),
            "{kind:?}"
        );
    }
    assert!(client.store.current().api_listeners.is_empty());
}
