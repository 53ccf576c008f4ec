use super::*;
use crate::snapshot::{Absence, Demand, DemandLimits};
use crate::tls::Secrets;

const NAME: &str = "a.example:80";

/// A sidecar whose requests name what they want.
struct Mesh {
    rig: Rig,
    demand: Arc<Demand>,
    store: Arc<SnapshotStore>,
    cluster: Setup,
}

async fn mesh(to: SocketAddr) -> Mesh {
    let (metrics, store) = (Metrics::new(), SnapshotStore::new());
    let demand = Demand::new(store.clone(), DemandLimits::default());
    let mut builder = Builder::new(store.clone(), metrics.clone(), Secrets::new());
    let listener = Arc::new(Setup::to([]).listener());
    builder.put_on_demand(listener, demand.clone(), Instant::now());
    builder.commit(Instant::now());
    Mesh {
        rig: Rig::start(builder, store.clone(), metrics, Default::default()).await,
        demand,
        store,
        cluster: Setup::to([to]),
    }
}

impl Mesh {
    /// Waits until a request has asked for the name.
    async fn asked(&self) {
        self.demand.asked().await;
        assert_eq!(self.demand.take_asked(), [NAME.into()]);
    }

    /// The control plane sends what was asked for.
    fn answer(mut self) -> Rig {
        let now = Instant::now();
        let cluster = self.cluster.cluster();
        let mut listener = self.cluster.listener();
        listener.name = NAME.into();
        listener.address = None;
        listener.default_filter_chain = listener.filter_chains.pop();
        self.rig.builder.put_cluster(Arc::new(cluster), now);
        self.rig.builder.put_listener(Arc::new(listener), now);
        self.rig.builder.commit(now);
        let view = self.store.current().api_listeners[NAME].clone();
        self.demand.ready(&NAME.into(), &view, now);
        self.rig
    }
}

#[test]
fn a_request_waits_for_its_name_and_goes_on_with_its_body() {
    local(async {
        let to = origin(|_, mut peer| async move {
            let request = peer.until("hello").await;
            assert_eq!(field(&request, "host"), "a.example");
            peer.send(OK).await;
        })
        .await;
        let mesh = mesh(to).await;
        let mut client = mesh.rig.connect().await;
        client
            .send("PUT / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 5\r\n\r\nhel")
            .await;
        mesh.asked().await;
        let rig = mesh.answer();
        client.send("lo").await;
        let answer = client.message().await;
        assert!(answer.ends_with("\r\n\r\nok"), "{answer}");
        rig.settles().await;
    });
}

#[test]
fn a_name_that_the_control_plane_does_not_know_is_a_404_that_says_so() {
    local(async {
        let mesh = mesh(nobody().await).await;
        let mut client = mesh.rig.connect().await;
        client.send(GET).await;
        mesh.asked().await;
        let now = Instant::now();
        mesh.demand.absent(&NAME.into(), Absence::Unknown, now);
        for _ in 0..2 {
            let answer = client.message().await;
            assert!(answer.starts_with("HTTP/1.1 404"), "{answer}");
            assert!(answer.contains("NR: a.example"), "{answer}");
            assert!(answer.contains("knows no service"), "{answer}");
            // The next hears it at once.
            client.send(GET).await;
        }
        assert_eq!(mesh.demand.take_asked(), Vec::<Arc<str>>::new());
    });
}

#[test]
fn a_request_for_an_unknown_name_counts_for_the_listener_that_took_it() {
    local(async {
        let mesh = mesh(nobody().await).await;
        let mut client = mesh.rig.connect().await;
        client.send(GET).await;
        mesh.asked().await;
        mesh.demand
            .absent(&NAME.into(), Absence::Unknown, Instant::now());
        client.message().await;
        mesh.rig.settles().await;
        let reached_none = mesh.rig.metrics.no_cluster();
        let counted = reached_none.http_totals(Direction::Inbound).unwrap();
        assert_eq!(counted.flags[ResponseFlag::NR.index()], 1);
        assert!(reached_none.http_totals(Direction::Unspecified).is_none());
    });
}

#[test]
fn a_name_that_nobody_answers_is_a_503_that_says_so() {
    local(async {
        let mesh = mesh(nobody().await).await;
        let mut client = mesh.rig.connect().await;
        client.send(GET).await;
        mesh.asked().await;
        let given_up = Instant::now() + DemandLimits::default().answer_timeout;
        assert_eq!(mesh.demand.expire(given_up).timed_out, [NAME.into()]);
        let answer = client.message().await;
        assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
        assert!(answer.contains("did not answer in time"), "{answer}");
    });
}

#[test]
fn a_downstream_that_goes_away_while_its_name_is_asked_for_leaves_nothing() {
    local(async {
        let mesh = mesh(nobody().await).await;
        let mut client = mesh.rig.connect().await;
        client
            .send("PUT / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 5\r\n\r\nhel")
            .await;
        mesh.asked().await;
        drop(client);
        mesh.rig.settles().await;
        let rig = mesh.answer();
        tokio::task::yield_now().await;
        assert_eq!(rig.worker.population(), (0, 0));
    });
}

#[test]
fn a_request_without_a_host_names_nothing() {
    local(async {
        let mesh = mesh(nobody().await).await;
        let answer = mesh.rig.ask("GET / HTTP/1.0\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
        assert_eq!(flag(&answer), "NR");
    });
}
